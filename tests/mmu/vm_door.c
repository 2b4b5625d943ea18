/* SPDX-License-Identifier: MIT */
/* Memslots, the second door, dirty bits, the sequence number, and several VMs on one processor. */
#include "rig.h"
#include "vm/gfn.h"

static void test_memslots(void **state)
{
	struct rig_config c = { .guest_base = 0x1000, .guest_pages = 0x100 };
	struct rig r;
	struct memslot *s;
	unsigned n = 1;

	rig_open(&r, &c);
	struct vm *vm = r.g[0].vm;

	/* Overlaps of every kind. */
	static const uint64_t over[][2] = {
		{ 0x1000, 0x100 }, { 0x1000, 1 }, { 0x10ff, 1 }, { 0xfff, 2 }, { 0x10ff, 2 }, { 0x800, 0x1000 }, { 0x1080, 4 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(over); i++)
		assert_int_equal(memslot_add(vm, GFN(over[i][0]), over[i][1], 0, &s), -EEXIST);
	assert_int_equal(memslot_add(vm, GFN(0), 0, 0, &s), -EINVAL);
	assert_int_equal(memslot_add(vm, GFN(BIT(40)), 1, 0, &s), -EINVAL);
	assert_int_equal(memslot_add(vm, GFN(BIT(40) - 1), 2, 0, &s), -EINVAL);
	assert_int_equal(memslot_add(vm, GFN(1), UINT64_MAX, 0, &s), -EINVAL);
	assert_int_equal(memslot_add(vm, GFN(UINT64_MAX), 1, 0, &s), -EINVAL);
	assert_int_equal(vm_end_gfn(vm).v, 0x1100);
	/* Neighbours on both sides may touch. */
	assert_int_equal(memslot_add(vm, GFN(0xfff), 1, 0, &s), 0);
	assert_int_equal(memslot_add(vm, GFN(0x1100), 1, 0, &s), 0);
	assert_int_equal(memslot_add(vm, GFN(BIT(40) - 1), 1, 0, &s), 0);
	n += 3;
	assert_int_equal(vm_end_gfn(vm).v, BIT(40));
	for (; n < VM_SLOTS_MAX; n++)
		assert_int_equal(memslot_add(vm, GFN(0x10000 + 16 * n), 1, 0, &s), 0);
	assert_int_equal(memslot_add(vm, GFN(0x20000), 1, 0, &s), -ENOSPC);
	assert_int_equal(vm_pages(vm), 0x100 + VM_SLOTS_MAX - 1);
	/* No two slots share an hva. */
	for (unsigned i = 0; i < vm->nslots; i++)
		for (unsigned k = 0; k < i; k++) {
			const struct memslot *a = &vm->slot[i], *b = &vm->slot[k];

			assert_true(a->userspace_addr >= b->userspace_addr + (b->npages << PAGE_SHIFT) ||
				    b->userspace_addr >= a->userspace_addr + (a->npages << PAGE_SHIFT));
		}
	rig_close(&r);
}

static uint8_t pattern(uint64_t i) { return (uint8_t)(i * 7 + i / 251); }

/* Across pages and from slot to slot; nothing done past memory's end. */
static void test_door_crosses_pages_and_slots(void **state)
{
	struct rig_config c = { .guest_base = 16, .guest_pages = 3, .table_gfn = 100 };
	struct rig r;
	struct memslot *next, *rom;
	uint8_t in[3 * PAGE_SIZE], out[sizeof(in)];

	rig_open(&r, &c);
	struct vm *vm = r.g[0].vm;

	assert_int_equal(memslot_add(vm, GFN(19), 2, 0, &next), 0);
	assert_int_equal(memslot_add(vm, GFN(30), 2, SLOT_READONLY, &rom), 0);
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = pattern(i);
	/* From the middle of page 17 to the middle of page 20, of another slot. */
	gpa_t at = GPA((17 << PAGE_SHIFT) + 0x800);

	assert_int_equal(vm_write(vm, at, in, sizeof(in)), 0);
	assert_int_equal(vm_read(vm, at, out, sizeof(out)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(vm->resident, 4);
	assert_int_equal(vm->stats.hidden_no_backing, 4);
	/* What it brought in and nobody wrote is zero. */
	assert_int_equal(vm_read(vm, GPA(17 << PAGE_SHIFT), out, 0x800), 0);
	for (unsigned i = 0; i < 0x800; i++)
		assert_int_equal(out[i], 0);
	/* Past the end: what lies before it is done, nothing after. */
	assert_int_equal(vm_write(vm, GPA((21 << PAGE_SHIFT) - 4), "abcdefgh", 8), -EFAULT);
	assert_int_equal(vm_read(vm, GPA((21 << PAGE_SHIFT) - 4), out, 4), 0);
	assert_memory_equal(out, "abcd", 4);
	assert_int_equal(vm_read(vm, GPA(21 << PAGE_SHIFT), out, 1), -EFAULT);
	assert_int_equal(vm_read(vm, GPA((16 << PAGE_SHIFT) - 1), out, 1), -EFAULT);
	assert_int_equal(vm_read(vm, GPA(UINT64_MAX), out, 2), -EFAULT);
	assert_int_equal(vm_read(vm, GPA(0), out, 0), 0);
	/* Read-only. */
	assert_int_equal(vm_read(vm, GPA(30 << PAGE_SHIFT), out, 8), 0);
	assert_int_equal(vm_write(vm, GPA(30 << PAGE_SHIFT), in, 8), -EACCES);
	assert_int_equal(vm_cas(vm, GPA(30 << PAGE_SHIFT), 8, 0, 1), -EACCES);
	/* Compare and swap. */
	uint64_t word = 0;

	assert_int_equal(vm_write(vm, at, &word, 8), 0);
	assert_int_equal(vm_cas(vm, at, 8, 1, 2), 0);
	assert_int_equal(vm_cas(vm, at, 8, 0, UINT64_C(0x1122334455667788)), 1);
	assert_int_equal(vm_cas(vm, at, 4, 0x55667788, 9), 1);
	assert_int_equal(vm_read(vm, at, &word, 8), 0);
	assert_int_equal(word, UINT64_C(0x1122334400000009));
	assert_int_equal(vm_cas(vm, GPA(at.v + 4), 8, 0, 1), -EFAULT);
	assert_int_equal(vm_cas(vm, at, 2, 0, 1), -EFAULT);
	rig_close(&r);
}

/* Both doors see the same bytes, whatever the other has cached. */
static void test_both_doors_see_the_same(void **state)
{
	static const uint64_t va = 0x400000;

	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
		struct rig r;
		struct rig_space s;
		struct rng rng;

		rng_init(&rng, 5);
		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		for (unsigned k = 0; k < 4; k++)
			rig_map(&s, va + (k << PAGE_SHIFT), 500 + k, 0, RIG_RIGHTS);
		rig_enter(&s);
		uint8_t model[4 * PAGE_SIZE] = { 0 };

		for (unsigned n = 0; n < 2000; n++) {
			uint64_t at = rng_below(&rng, sizeof(model) - 8), value = rng_next(&rng), have = 0;
			unsigned size = 1u << rng_below(&rng, 4);

			value &= low_bits(8 * size);
			switch (rng_below(&rng, 4)) {
			case 0:
				assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + at, size, value), ACCESS_OK);
				memcpy(model + at, &value, size);
				break;
			case 1:
				assert_int_equal(vm_write(g->vm, GPA((500 << PAGE_SHIFT) + at), &value, size), 0);
				memcpy(model + at, &value, size);
				break;
			case 2:
				assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va + at, size, &have), ACCESS_OK);
				assert_memory_equal(&have, model + at, size);
				break;
			default:
				assert_int_equal(vm_read(g->vm, GPA((500 << PAGE_SHIFT) + at), &have, size), 0);
				assert_memory_equal(&have, model + at, size);
			}
		}
		rig_close(&r);
	}
}

/* What devices write is in the log; starting clears it; reading gives each bit once. */
static void test_dirty_log_of_the_second_door(void **state)
{
	struct rig_config c = { .guest_pages = 700 };
	struct rig r;
	uint64_t map[11], word;
	mfn_t mfn;

	rig_open(&r, &c);
	struct vm *vm = r.g[0].vm;

	assert_int_equal(vm_write(vm, GPA(5 << PAGE_SHIFT), "x", 1), 0);
	vm_dirty_start(vm);
	assert_int_equal(vm_dirty_read(vm, GFN(0), 700, map), 0);
	for (unsigned i = 0; i < 11; i++)
		assert_int_equal(map[i], 0);
	assert_int_equal(vm_read(vm, GPA(6 << PAGE_SHIFT), &word, 8), 0);
	assert_int_equal(vm_write(vm, GPA((64 << PAGE_SHIFT) - 1), "xy", 2), 0);
	assert_int_equal(vm_cas(vm, GPA(600 << PAGE_SHIFT), 8, 0, 1), 1);
	assert_int_equal(vm_pin(vm, GFN(601), true, &mfn), 0);
	assert_int_equal(vm_pin(vm, GFN(602), false, &mfn), 0);
	assert_int_equal(vm_dirty_read(vm, GFN(0), 700, map), 0);
	for (unsigned g = 0; g < 700; g++)
		assert_int_equal(!!(map[g / 64] & BIT(g % 64)), g == 63 || g == 64 || g == 600 || g == 601);
	vm_unpin(vm, GFN(601));
	vm_unpin(vm, GFN(602));
	assert_int_equal(vm_dirty_read(vm, GFN(0), 700, map), 0);
	assert_int_equal(map[1] | map[9], 0);
	/* A part of it, that begins anywhere; the rest is left. */
	assert_int_equal(vm_write(vm, GPA(99 << PAGE_SHIFT), "x", 1), 0);
	assert_int_equal(vm_write(vm, GPA(110 << PAGE_SHIFT), "x", 1), 0);
	assert_int_equal(vm_dirty_read(vm, GFN(98), 5, map), 0);
	assert_int_equal(map[0], 2);
	assert_int_equal(vm_dirty_read(vm, GFN(98), 20, map), 0);
	assert_int_equal(map[0], BIT(12));
	assert_int_equal(vm_dirty_read(vm, GFN(699), 2, map), -EFAULT);
	assert_int_equal(vm_dirty_read(vm, GFN(700), 1, map), -EFAULT);
	assert_int_equal(vm_dirty_read(vm, GFN(0), 0, map), -EFAULT);
	vm_dirty_stop(vm);
	rig_close(&r);
}

/* Whoever looked up a gfn can tell that it may have changed. */
static void test_sequence_number(void **state)
{
	static const enum gfn_op ops[] = {
		GFN_OP_BACK, GFN_OP_DIRTY, GFN_OP_CLEAN, GFN_OP_WPROT, GFN_OP_UNWPROT, GFN_OP_MOVE, GFN_OP_RELEASE,
	};
	struct rig_config c = { 0 };
	struct rig r;
	uint64_t seq;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		seq = g->vm->mmu_seq;
		assert_int_equal(gfn_update(g->vm, GFN(50), 1, &(struct gfn_change){ .op = ops[i] }), 0);
		assert_true(g->vm->mmu_seq > seq);
	}
	seq = g->vm->mmu_seq;
	rig_poke(g, 51 << PAGE_SHIFT, 8, 1);
	assert_true(g->vm->mmu_seq > seq);
	seq = g->vm->mmu_seq;
	/* Looking changes nothing. */
	struct gfn_mapping map;

	rig_poke(g, 51 << PAGE_SHIFT, 8, 2);
	assert_int_equal(gfn_peek(g->vm, GFN(51), &map), 0);
	assert_int_equal(gfn_fault(g->vm, GFN(51), true, &map), 0);
	assert_false(map.hidden);
	assert_int_equal(g->vm->mmu_seq, seq);
	mmu_zap_gfns(g->mmu, GFN(51), 1);
	assert_true(g->vm->mmu_seq > seq);
	rig_close(&r);
}

static void count_vm(void *ctx, int level, const struct tlb_entry *e)
{
	((unsigned *)ctx)[e->vmid]++;
}

/* VMs under different schemes on one processor, all with the same addresses and asids. */
static void test_several_vms_on_one_processor(void **state)
{
	enum { VMS = 6 };
	static const char *const schemes[VMS] = {
		"nested/radix", "shadow", "nested/inverted", "shadow/inverted", "nested/inverted", "shadow+lazy",
	};
	static const uint64_t va = 0x400000;
	struct rig_config c = { .preset = "generic", .ram = 128 << 20 };
	struct rig_space s[VMS];
	struct rig r;
	unsigned before[VMS + 2] = { 0 }, after[VMS + 2] = { 0 };

	rig_open_machine(&r, &c);
	for (unsigned n = 0; n < VMS; n++) {
		c.scheme = schemes[n];
		struct rig_vm *g = rig_vm_add(&r, &c);

		rig_space_init(&s[n], g);
		for (unsigned k = 0; k < 8; k++)
			rig_map(&s[n], va + (k << PAGE_SHIFT), 1000 + k, 0, RIG_RIGHTS | (k & 1 ? RIGHT_G : 0));
		rig_enter(&s[n]);
	}
	for (unsigned round = 0; round < 4; round++)
		for (unsigned k = 0; k < 8; k++)
			for (unsigned n = 0; n < VMS; n++) {
				uint64_t value, at = va + (k << PAGE_SHIFT) + 8;

				assert_int_equal(vcpu_load(&r.g[n].v, SEG_PAGED, at, 8, &value), ACCESS_OK);
				assert_int_equal(value, round ? round * 1000 + n * 10 + k - 1000 : 0);
				assert_int_equal(vcpu_store(&r.g[n].v, SEG_PAGED, at, 8, round * 1000 + n * 10 + k), ACCESS_OK);
				rig_leads_to(&r.g[n], at, ACC_READ, 1000 + k);
			}
	rig_audit(&r);
	/* One VM's flush leaves the others' entries. */
	tlb_for_each(&r.cpu.tlb, count_vm, before);
	flush_vm(r.g[2].mmu);
	tlb_for_each(&r.cpu.tlb, count_vm, after);
	for (unsigned n = 0; n < VMS; n++) {
		unsigned id = r.g[n].vm->vmid;

		assert_true(before[id] > 0);
		assert_int_equal(after[id], n == 2 ? 0 : before[id]);
	}
	/* One that goes takes nothing of the others along; its number and its spaces may be had again. */
	uint16_t id = r.g[2].vm->vmid;

	rig_vm_remove(&r.g[2]);
	c.scheme = "nested/inverted";
	struct rig_vm *g = rig_vm_add(&r, &c);

	assert_int_equal(g->vm->vmid, id);
	assert_int_equal(rig_peek(g, (1000 << PAGE_SHIFT) + 8, 8), 0);
	for (unsigned n = 0; n < VMS; n++)
		for (unsigned k = 0; k < 8 && n != 2; k++) {
			uint64_t value;

			assert_int_equal(vcpu_load(&r.g[n].v, SEG_PAGED, va + (k << PAGE_SHIFT) + 8, 8, &value), ACCESS_OK);
			assert_int_equal(value, 3000 + n * 10 + k);
		}
	rig_close(&r);
}

/* A vCPU without an address space has none of anybody's translations. */
static void test_no_space_before_one_is_set(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
		struct rig r;

		rig_open(&r, &c);
		assert_int_equal(vcpu_touch(&r.g[0].v, SEG_PAGED, 0, ACC_READ, NULL), ACCESS_CRASH);
		assert_non_null(r.g[0].vm->crashed);
		/* And stays stopped. */
		assert_int_equal(vcpu_touch(&r.g[0].v, SEG_BARE, 0, ACC_READ, NULL), ACCESS_CRASH);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memslots),
		cmocka_unit_test(test_door_crosses_pages_and_slots),
		cmocka_unit_test(test_both_doors_see_the_same),
		cmocka_unit_test(test_dirty_log_of_the_second_door),
		cmocka_unit_test(test_sequence_number),
		cmocka_unit_test(test_several_vms_on_one_processor),
		cmocka_unit_test(test_no_space_before_one_is_set),
	};

	return cmocka_run_group_tests_name("vm, doors", tests, NULL, NULL);
}
