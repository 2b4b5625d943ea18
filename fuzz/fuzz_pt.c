/* SPDX-License-Identifier: MIT */
/*
 * Sequences of operations on every organisation, against the model and
 * pt_flat (conform/pt_rig.h). The first two bytes choose organisation, options,
 * format and stage; each eight after them are one operation.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "conform/pt_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_BYTES = 2, OPS_MAX = 400, CHECK_ALL_EVERY = 32 };

static void stop(const struct rig *r, const struct op *op)
{
	char text[320];

	rig_config_name(r->c, text, sizeof(text));
	fprintf(stderr, "%s\n", text);
	if (op) {
		op_print(op, text, sizeof(text));
		fprintf(stderr, "%s\n", text);
	}
	fprintf(stderr, "-> %s\n", r->why);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rig_config configs[RIG_CONFIGS_MAX];
	static unsigned nconfigs;
	static struct rig r;

	if (!nconfigs)
		nconfigs = rig_configs(configs, RIG_CONFIGS_MAX);
	if (size < HEAD_BYTES)
		return 0;
	if (!rig_init(&r, &configs[(data[0] | data[1] << 8) % nconfigs]))
		stop(&r, NULL);
	size_t n = (size - HEAD_BYTES) / OP_BYTES;
	for (size_t i = 0; i < n && i < OPS_MAX; i++) {
		struct op op = op_make(r.c, data + HEAD_BYTES + i * OP_BYTES);

		if (!rig_apply(&r, &op) || (i % CHECK_ALL_EVERY == 0 && !rig_check_all(&r)))
			stop(&r, &op);
	}
	if (!rig_check_all(&r) || !rig_fini(&r))
		stop(&r, NULL);
	return 0;
}
