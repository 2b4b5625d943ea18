/* SPDX-License-Identifier: MIT */
/* The bytes of mapped files, as the file has them when it is mapped, in slots of their own. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "quire-plugin.h"

void contents_of_mapping(struct relay_control *c, uint32_t pid, const struct file_part *part)
{
	struct relay_slot *s = NULL;

	for (uint64_t done = 0; done < part->len; done += PAGE_SIZE) {
		size_t want = (size_t)MIN(part->len - done, (uint64_t)PAGE_SIZE);

		if (!s && !(s = relay_slot_take(c, pid, pid, RELAY_CONTENTS)))
			return;
		struct relay_page *page = &s->pages[s->nitems];
		ssize_t n = pread(part->fd, page->bytes, want, (off_t)(part->offset + done));

		/* Pages past the file's end have no contents: an access there fails. */
		if (n <= 0)
			break;
		memset(page->bytes + n, 0, PAGE_SIZE - (size_t)n);
		page->gva = part->gva + done;
		if (++s->nitems == RELAY_PAGES) {
			relay_slot_release(c, s);
			s = NULL;
		}
	}
	if (s)
		relay_slot_release(c, s);
}
