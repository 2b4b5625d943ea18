/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_BASE_LOG_H
#define QUIRE_BASE_LOG_H

#include "base/host_ops.h"

/* Hands one line to host_ops.log. Layers 0-3 have no printf: say it in words. */
void log_line(enum log_level level, const char *line);

#endif
