/* SPDX-License-Identifier: MIT */
#include "conform/test_mem.h"
