/* SPDX-License-Identifier: MIT */
/* Code compiled for wide vectors (AVX2) runs where the processor under us has them; its plain twin elsewhere. */
#ifndef QUIRE_BASE_WIDE_H
#define QUIRE_BASE_WIDE_H

#include <stdbool.h>

/* Has it, and does the system keep its registers? Asked of the processor once. */
bool host_is_wide(void);

#endif
