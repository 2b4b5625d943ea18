/* SPDX-License-Identifier: MIT */
/*
 * All functions of Quire that a plug-in may call, once.
 *
 * A plug-in imports nothing of the program's: `-lquire-plug` gives it a
 * function of each of these names (plug/thunks.c), which calls through a table
 * that the program hands over when it loads the file (plug/services.c). What is
 * not here a plug-in cannot use, and learns so from its linker. What the
 * headers define inline needs no service.
 *
 *     S(type, name, parameters, arguments)
 *
 * The order is part of the interface: append, and raise QUIRE_PLUGIN_ABI
 * (plug/plugin.h) for any other change.
 */
#ifndef QUIRE_PLUG_SERVICES_H
#define QUIRE_PLUG_SERVICES_H

#include "base/log.h"
#include "mmu/internal.h"
#include "pt/array.h"
#include "pt/txn.h"

#define QUIRE_SERVICES_OF_TABLES(S)                                                                                     \
	S(void, log_line, (enum log_level level, const char *line), (level, line))                                      \
	S(enum walk_why, walk_check, (uint8_t rights, enum acc_kind kind, bool user, uint32_t ctl, bool riscv),         \
	  (rights, kind, user, ctl, riscv))                                                                             \
	S(uint32_t, walk_error_code, (const struct walk_req *req, enum walk_why why, bool present),                     \
	  (req, why, present))                                                                                          \
	S(const char *, walk_why_name, (enum walk_why why), (why))                                                      \
	S(void, gpt_walk, (const struct gpt_format *fmt, struct pt_mem *m, uint64_t root, const struct walk_req *req,   \
			   struct walk *w), (fmt, m, root, req, w))                                                     \
	S(const struct gpt_format *, gpt_find, (const char *name), (name))                                              \
	S(int, gpt_validate, (const struct gpt_format *fmt, const char **why), (fmt, why))                              \
	S(uint64_t, gpt_table_bytes, (const struct gpt_format *fmt, unsigned level, bool second_stage_root),            \
	  (fmt, level, second_stage_root))                                                                              \
	S(unsigned, gpt_table_order, (const struct gpt_format *fmt, unsigned level, bool second_stage_root),            \
	  (fmt, level, second_stage_root))                                                                              \
	S(uint64_t, gpt_leaf_orders, (const struct gpt_format *fmt), (fmt))                                             \
	S(int, gpt_level_of_order, (const struct gpt_format *fmt, unsigned order), (fmt, order))                        \
	S(bool, gpt_va_ok, (const struct gpt_format *fmt, uint64_t va, bool second_stage), (fmt, va, second_stage))     \
	S(uint64_t, gpt_va_limit, (const struct gpt_format *fmt, bool second_stage), (fmt, second_stage))               \
	S(uint64_t, gpt_index, (const struct gpt_format *fmt, unsigned level, uint64_t va, bool second_stage),          \
	  (fmt, level, va, second_stage))                                                                               \
	S(uint64_t, gpt_make_leaf, (const struct gpt_format *fmt, unsigned level, uint64_t frame, uint8_t rights),      \
	  (fmt, level, frame, rights))                                                                                  \
	S(uint64_t, gpt_make_table, (const struct gpt_format *fmt, unsigned level, uint64_t frame), (fmt, level, frame)) \
	S(bool, gpt_is_present, (const struct gpt_format *fmt, uint64_t pte), (fmt, pte))                               \
	S(bool, gpt_is_leaf, (const struct gpt_format *fmt, unsigned level, uint64_t pte), (fmt, level, pte))           \
	S(uint64_t, gpt_frame, (const struct gpt_format *fmt, uint64_t pte), (fmt, pte))                                \
	S(uint8_t, gpt_rights, (const struct gpt_format *fmt, unsigned level, uint64_t pte), (fmt, level, pte))         \
	S(bool, gpt_can_express, (const struct gpt_format *fmt, uint8_t rights), (fmt, rights))                         \
	S(bool, gpt_is_reserved, (const struct gpt_format *fmt, unsigned level, uint64_t pte, uint32_t ctl),            \
	  (fmt, level, pte, ctl))                                                                                       \
	S(int, pt_create, (struct pt *pt, const struct pt_org *org, uint32_t flags, const struct pt_params *params,     \
			   struct pt_mem *mem), (pt, org, flags, params, mem))                                          \
	S(int, pt_open, (struct pt *pt, const struct pt_org *org, uint32_t flags, const struct pt_params *params,       \
			 struct pt_mem *mem, uint64_t root), (pt, org, flags, params, mem, root))                       \
	S(void, pt_destroy, (struct pt *pt), (pt))                                                                      \
	S(int, pt_find, (struct pt *pt, struct pt_key key, struct pt_entry *e), (pt, key, e))                           \
	S(int64_t, pt_unmap_range, (struct pt *pt, uint32_t space, uint64_t start, uint64_t end),                       \
	  (pt, space, start, end))                                                                                      \
	S(const struct pt_org *, pt_org_find, (const char *name, size_t len), (name, len))                              \
	S(void, pt_array_init, (struct pt_array *a, uint64_t bytes), (a, bytes))                                        \
	S(int, pt_array_alloc, (struct pt_array *a, struct pt_mem *m), (a, m))                                          \
	S(void, pt_array_free, (struct pt_array *a, struct pt_mem *m), (a, m))                                          \
	S(uint64_t, pt_array_allocated, (const struct pt_array *a), (a))                                                \
	S(bool, pt_array_ok, (const struct pt_array *a), (a))                                                           \
	S(bool, pt_array_offset, (const struct pt_array *a, uint64_t addr, uint64_t *offset), (a, addr, offset))        \
	S(uint64_t, txn_get, (struct txn *t, uint64_t addr), (t, addr))                                                 \
	S(void, txn_put, (struct txn *t, uint64_t addr, uint64_t value), (t, addr, value))                              \
	S(int, txn_commit, (struct txn *t), (t))

#define QUIRE_SERVICES_OF_MEMORY(S)                                                                                     \
	S(void *, kmem_alloc, (struct machine *m, size_t size), (m, size))                                              \
	S(void, kmem_free, (struct machine *m, void *p, size_t size), (m, p, size))                                     \
	S(int, kmem_reserve, (struct machine *m, size_t size, unsigned n), (m, size, n))                                \
	S(void, ptm_machine_init, (struct pt_mem_machine *pm, struct machine *machine), (pm, machine))                  \
	S(int, ptm_machine_reserve, (struct pt_mem_machine *pm, unsigned n), (pm, n))                                   \
	S(void, ptm_machine_fini, (struct pt_mem_machine *pm), (pm))                                                    \
	S(struct memslot *, memslot_find, (struct vm *vm, gfn_t gfn), (vm, gfn))                                        \
	S(gfn_t, vm_end_gfn, (const struct vm *vm), (vm))                                                               \
	S(uint64_t, vm_pages, (const struct vm *vm), (vm))                                                              \
	S(void, vm_crash, (struct vm *vm, const char *why), (vm, why))                                                  \
	S(int, vm_read, (struct vm *vm, gpa_t gpa, void *buf, uint64_t len), (vm, gpa, buf, len))                       \
	S(int, vm_write, (struct vm *vm, gpa_t gpa, const void *buf, uint64_t len), (vm, gpa, buf, len))                \
	S(struct gfn_state, gfn_get, (struct vm *vm, gfn_t gfn), (vm, gfn))                                             \
	S(int, gfn_fault, (struct vm *vm, gfn_t gfn, bool write, struct gfn_mapping *out), (vm, gfn, write, out))       \
	S(int, gfn_peek, (struct vm *vm, gfn_t gfn, struct gfn_mapping *out), (vm, gfn, out))                           \
	S(int, gfn_update, (struct vm *vm, gfn_t gfn, uint64_t npages, const struct gfn_change *change),                \
	  (vm, gfn, npages, change))

#define QUIRE_SERVICES_OF_MODES(S)                                                                                      \
	S(struct space *, space_by_number, (struct mmu *mmu, uint32_t number), (mmu, number))                           \
	S(void, flush_range, (struct mmu *mmu, uint32_t space, uint64_t va, uint64_t bytes, enum flush_walks walks),    \
	  (mmu, space, va, bytes, walks))                                                                               \
	S(void, flush_space, (struct mmu *mmu, uint32_t space), (mmu, space))                                           \
	S(void, flush_vm, (struct mmu *mmu), (mmu))                                                                     \
	S(void, flush_walks, (struct mmu *mmu), (mmu))                                                                  \
	S(void, flush_frames, (struct mmu *mmu, mfn_t mfn, uint64_t n), (mmu, mfn, n))                                  \
	S(void, guest_mem_init, (struct guest_mem *g, struct mmu *mmu, const struct pt_mem_ops *ops), (g, mmu, ops))    \
	S(void, guest_mem_begin, (struct guest_mem *g), (g))                                                            \
	S(void, guest_mem_saw, (struct guest_mem *g, gfn_t gfn, mfn_t mfn), (g, gfn, mfn))                              \
	S(mfn_t, guest_mem_where, (const struct guest_mem *g, gfn_t gfn), (g, gfn))                                     \
	S(int, guest_mem_cas, (struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value),        \
	  (m, addr, size, expect, value))                                                                               \
	S(int, guest_mem_no_store, (struct pt_mem *m, uint64_t addr, unsigned size, const void *in), (m, addr, size, in)) \
	S(int, guest_mem_no_alloc, (struct pt_mem *m, unsigned order, uint64_t *addr), (m, order, addr))                \
	S(void, guest_mem_no_free, (struct pt_mem *m, uint64_t addr, unsigned order), (m, addr, order))                 \
	S(hpa_t, guest_mem_hpa, (struct pt_mem *m, uint64_t addr), (m, addr))                                           \
	S(void, guest_walk, (struct guest_mem *g, struct mmu_fault *f, enum walk_caches caches), (g, f, caches))        \
	S(void, host_walk, (struct mmu *mmu, struct pt *pt, struct walk_cache *wc, const struct walk_req *req,          \
			    struct walk *w), (mmu, pt, wc, req, w))                                                     \
	S(void, make_entry, (struct mmu *mmu, struct mmu_fault *f, uint64_t gfn, uint8_t guest_order,                   \
			     uint8_t guest_rights, uint64_t mfn, uint8_t host_order, uint8_t host_rights),              \
	  (mmu, f, gfn, guest_order, guest_rights, mfn, host_order, host_rights))                                       \
	S(void, no_memory_there, (const struct mmu *mmu, struct mmu_fault *f), (mmu, f))                                \
	S(bool, track_walk, (struct mmu *mmu, const struct space *s, const struct walk *w, uint64_t va), (mmu, s, w, va)) \
	S(void, track_drop_gfn, (struct mmu *mmu, gfn_t gfn), (mmu, gfn))                                               \
	S(void, track_drop_space, (struct mmu *mmu, uint32_t space), (mmu, space))

#define QUIRE_SERVICES(S)           \
	QUIRE_SERVICES_OF_TABLES(S) \
	QUIRE_SERVICES_OF_MEMORY(S) \
	QUIRE_SERVICES_OF_MODES(S)

struct quire_services {
	/* Does not return (base/bug.h). */
	void (*bug_at)(const char *file, int line, const char *what);
#define S(type, name, parameters, arguments) type(*name) parameters;
	QUIRE_SERVICES(S)
#undef S
};

#endif
