/* SPDX-License-Identifier: MIT */
/*
 * A datagram a state change, sent without waiting: a service manager that is stuck must not hold up
 * a stop. The protocol is two environment variables each, so a library for it would be more code
 * than this.
 */
#include "server/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/units.h"

int weir__notify(const char *state)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	int fd, r = 0;

	if (len == 0)
		return 0;
	if (len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
		return -EINVAL;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0'; /* The abstract name space. */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to,
	           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		r = -errno;
	close(fd);
	return r;
}

int weir__notify_listen_fds(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t for_pid = 0, n = 0;

	if (!pid || !fds || weir__parse_int(pid, &for_pid) < 0 || weir__parse_int(fds, &n) < 0)
		return 0;
	if (for_pid != getpid() || n < 0)
		return 0;
	/* Children must not believe that they were meant. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (n > WEIR__LISTEN_FDS_MAX)
		n = WEIR__LISTEN_FDS_MAX;
	for (int i = 0; i < n; i++)
		fcntl(WEIR__LISTEN_FD_FIRST + i, F_SETFD, FD_CLOEXEC);
	return (int)n;
}
