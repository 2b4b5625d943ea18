/* SPDX-License-Identifier: MIT */
/* The rig stands with the conformance cases, which plug-ins are held to as well. */
#include "conform/pt_rig.h"
