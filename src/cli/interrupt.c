/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdatomic.h>

#include "cli/cli.h"

static atomic_bool stop;

static void on_interrupt(int signal)
{
	atomic_store_explicit(&stop, true, memory_order_relaxed);
}

void interrupt_install(void)
{
	/* Once: the next one finds the default action and ends the program. */
	struct sigaction sa = { .sa_handler = on_interrupt, .sa_flags = SA_RESETHAND | SA_RESTART };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
}

bool interrupted(void)
{
	return atomic_load_explicit(&stop, memory_order_relaxed);
}
