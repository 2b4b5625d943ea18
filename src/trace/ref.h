/* SPDX-License-Identifier: MIT */
#include "base/ref.h"
