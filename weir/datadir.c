/* SPDX-License-Identifier: MIT */
/*
 * The data directory: one weir at a time, and a secret that outlives it.
 *
 * All of this happens before tasks run, so it may block.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"
#include "base/log.h"
#include "queue/lockfile.h"

char *datadir_file(const char *path, const char *name)
{
	char *file;

	return asprintf(&file, "%s/%s", path, name) < 0 ? NULL : file;
}

/* mkdir -p, for its owner only. */
static int make(const char *path)
{
	char *copy = strdup(path);
	int r = 0;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; r == 0; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			r = -errno;
		*p = c;
		if (c == '\0')
			break;
	}
	free(copy);
	return r;
}

static int lock(const char *path, const char *file)
{
	char pid[WEIR__LOCKFILE_PID];
	int fd = weir__lockfile(file, pid);

	if (fd == -EBUSY)
		weir__log(WEIR__ERROR, "data", "%s is in use by another weir, pid %s", path, pid);
	return fd < 0 ? fd : 0; /* The descriptor stays open: it is the lock. */
}

int datadir_open(const char *path)
{
	char *file = datadir_file(path, "lock");
	int r = file ? make(path) : -ENOMEM;

	if (r == 0)
		r = lock(path, file);
	if (r < 0 && r != -EBUSY)
		weir__log(WEIR__ERROR, "data", "%s: %s", path, strerror(-r));
	free(file);
	return r;
}

int datadir_secret(const char *path, unsigned char ret[32])
{
	char *file = datadir_file(path, "secret");
	int fd = -1, r = 0;

	if (!file)
		return -ENOMEM;
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = -errno;
		goto out;
	}
	if (read(fd, ret, 32) == 32)
		goto out;
	if (getrandom(ret, 32, 0) != 32 || pwrite(fd, ret, 32, 0) != 32 ||
	    fsync(fd) < 0) /* nothing else runs yet */
		r = -EIO;
out:
	if (r < 0)
		weir__log(WEIR__ERROR, "data", "%s: %s", file, strerror(-r));
	if (fd >= 0)
		close(fd);
	free(file);
	return r;
}
