/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
	int code = quire_main(argc, argv);

	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "quire: standard output: %s; what was written is not whole\n", strerror(errno));
		return code ? code : EXIT_USAGE;
	}
	return code;
}
