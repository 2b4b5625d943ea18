/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "report/report.h"

void progress_init(struct progress *p, bool quiet, uint64_t total)
{
	p->on = !quiet && isatty(STDERR_FILENO);
	p->total = total;
	atomic_init(&p->done, 0);
	atomic_init(&p->shown, 0);
}

void progress_add(struct progress *p, uint64_t n)
{
	uint64_t done;
	unsigned long part, shown;

	if (!p->on)
		return;
	done = atomic_fetch_add(&p->done, n) + n;
	part = p->total ? (unsigned long)((double)done / (double)p->total * 256) : (unsigned long)(done >> 24);
	shown = atomic_load(&p->shown);
	/* One of the threads that pass the same mark writes it. */
	if (part > shown && atomic_compare_exchange_strong(&p->shown, &shown, part)) {
		char buf[HUMAN_MAX];

		if (p->total)
			fprintf(stderr, "\r%3.0f %%  %s references ", (double)done * 100 / (double)p->total,
				human_short(buf, done));
		else
			fprintf(stderr, "\r%s references ", human_short(buf, done));
		fflush(stderr);
	}
}

void progress_end(struct progress *p)
{
	if (p->on && atomic_load(&p->shown))
		fputs("\r                                        \r", stderr);
}
