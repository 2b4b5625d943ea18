/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trace/system_control.h"

struct system_control *system_control_attach(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct system_control *c;

	if (fd < 0)
		return NULL;
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (c == MAP_FAILED)
		return NULL;
	if (c->magic != SYSTEM_CONTROL_MAGIC) {
		munmap(c, sizeof(*c));
		errno = EINVAL;
		return NULL;
	}
	return c;
}
