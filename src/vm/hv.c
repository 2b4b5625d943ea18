/* SPDX-License-Identifier: MIT */
#include "vm/vm.h"
#include "base/bug.h"
#include "vm/memslot.h"

/*
 * Host-virtual addresses are numbers of Quire's own, the same on every host:
 * each memslot gets the next stretch, with a gap of 1 GiB so that an address
 * just past one slot is in none.
 */
#define HVA_START UINT64_C(0x7f0000000000)

int hv_init(struct hv *hv, struct machine *m)
{
	memset(hv, 0, sizeof(*hv));
	hv->m = m;
	hv->next_hva = HVA_START;
	ptm_machine_init(&hv->ptm, m);
	return 0;
}

void hv_fini(struct hv *hv)
{
	BUG_ON(hv->nvms);
	ptm_machine_fini(&hv->ptm);
}

static void copy_name(char *out, const char *name)
{
	size_t i = 0;

	for (; name[i] && i < VM_NAME_MAX - 1; i++)
		out[i] = name[i];
	out[i] = 0;
}

int vm_create(struct hv *hv, const char *name, struct vm **out)
{
	unsigned id = 1;

	while (id <= VMS_MAX && hv->vm[id])
		id++;
	if (id > VMS_MAX)
		return -ENOSPC;
	struct vm *vm = kmem_alloc(hv->m, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->hv = hv;
	vm->vmid = (uint16_t)id;
	vm->contiguous_base = INVALID_FRAME;
	copy_name(vm->name, name);
	hv->vm[id] = vm;
	hv->nvms++;
	*out = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	struct hv *hv = vm->hv;

	BUG_ON(vm->notifier);
	for (unsigned i = 0; i < vm->nslots; i++)
		memslot_release(vm, &vm->slot[i]);
	hv->vm[vm->vmid] = NULL;
	hv->nvms--;
	kmem_free(hv->m, vm, sizeof(*vm));
}

void vm_crash(struct vm *vm, const char *why)
{
	if (!vm->crashed)
		vm->crashed = why;
}

int hv_shared_table_get(struct hv *hv, const struct pt_org *org, uint32_t flags,
			const struct gpt_format *fmt, enum hv_table_use use, struct pt **out)
{
	struct hv_shared_table *empty = NULL;
	bool second_stage = use == HV_TABLE_P2M;

	for (unsigned i = 0; i < ARRAY_SIZE(hv->shared); i++) {
		struct hv_shared_table *t = &hv->shared[i];

		if (!t->users) {
			if (!empty)
				empty = t;
		} else if (t->pt.org == org && t->pt.flags == flags && t->pt.params.fmt == fmt &&
			   t->pt.params.second_stage == second_stage) {
			t->users++;
			*out = &t->pt;
			return 0;
		}
	}
	if (!empty)
		return -ENOSPC;
	struct pt_params params = {
		.fmt = fmt,
		.second_stage = second_stage,
		.nframes = hv->m->nframes,
		.role = second_stage ? "p2m" : "shadow",
	};
	int err = pt_create(&empty->pt, org, flags, &params, &hv->ptm.m);
	if (err)
		return err;
	empty->users = 1;
	*out = &empty->pt;
	return 0;
}

void hv_shared_table_put(struct hv *hv, struct pt *pt)
{
	struct hv_shared_table *t = container_of(pt, struct hv_shared_table, pt);

	BUG_ON(t < hv->shared || t >= hv->shared + ARRAY_SIZE(hv->shared) || !t->users);
	if (--t->users == 0)
		pt_destroy(&t->pt);
}
