/* SPDX-License-Identifier: MIT */
/*
 * The address spaces, each a type of its own, so that none can be passed
 * where another is meant. All are bytes or 4 KiB frame numbers:
 *
 *      gva ──guest table──▶ gpa ──second stage──▶ hpa     (bytes)
 *                           gfn ─────────────────▶ mfn     (4 KiB frames)
 *                           gpa ──memslot──▶ hva           (Quire's own pointer)
 *
 * A `space` is Quire's own number of one (VM, address space); it is what TLBs
 * and tables are tagged with, never a raw ASID.
 */
#ifndef QUIRE_BASE_TYPES_H
#define QUIRE_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12u
#define PAGE_SIZE (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK (PAGE_SIZE - 1)
/* Page-walk references are counted by aligned lines of this many bytes. */
#define LINE_SHIFT 6u
#define LINE_SIZE (UINT64_C(1) << LINE_SHIFT)
/* A frame size is an order: 2^order frames. 9 is 2 MiB, 18 is 1 GiB. */
#define ORDER_4K 0u
#define ORDER_2M 9u
#define ORDER_1G 18u

typedef struct { uint64_t v; } gva_t;
typedef struct { uint64_t v; } gpa_t;
typedef struct { uint64_t v; } hpa_t;
typedef struct { uint64_t v; } gfn_t;
typedef struct { uint64_t v; } mfn_t;

#define GVA(x) ((gva_t){(x)})
#define GPA(x) ((gpa_t){(x)})
#define HPA(x) ((hpa_t){(x)})
#define GFN(x) ((gfn_t){(x)})
#define MFN(x) ((mfn_t){(x)})

/* No frame. Frame numbers are at most 40 bits wide, so this is never one. */
#define INVALID_FRAME UINT64_MAX
#define INVALID_MFN MFN(INVALID_FRAME)
#define INVALID_GFN GFN(INVALID_FRAME)

static inline gfn_t gpa_to_gfn(gpa_t a) { return GFN(a.v >> PAGE_SHIFT); }
static inline gpa_t gfn_to_gpa(gfn_t g) { return GPA(g.v << PAGE_SHIFT); }
static inline mfn_t hpa_to_mfn(hpa_t a) { return MFN(a.v >> PAGE_SHIFT); }
static inline hpa_t mfn_to_hpa(mfn_t m) { return HPA(m.v << PAGE_SHIFT); }

/* What an instruction does to memory. The values index small tables. */
enum acc_kind { ACC_READ = 0, ACC_WRITE = 1, ACC_EXEC = 2, ACC_KINDS = 3 };

/*
 * What a mapping allows, in no format's encoding. A table entry, a TLB entry
 * and a fault all speak these bits.
 */
enum {
	RIGHT_R = 1 << 0,
	RIGHT_W = 1 << 1,
	RIGHT_X = 1 << 2,
	RIGHT_U = 1 << 3, /* user may; without it supervisor only */
	RIGHT_G = 1 << 4, /* the same in every address space of the VM */
	RIGHT_A = 1 << 5, /* accessed */
	RIGHT_D = 1 << 6, /* dirty */
	RIGHT_RWX = RIGHT_R | RIGHT_W | RIGHT_X,
	RIGHT_ALL = RIGHT_RWX | RIGHT_U | RIGHT_G | RIGHT_A | RIGHT_D,
};

#endif
