/* SPDX-License-Identifier: MIT */
/* What a service manager tells a program and hears from it: sd_notify(3) and sd_listen_fds(3),
 * without libsystemd. */
#ifndef WEIR_SERVER_NOTIFY_H
#define WEIR_SERVER_NOTIFY_H

/* Send "READY=1" or the like to $NOTIFY_SOCKET. Never waits: a manager that does not read is not
 * told. 0, or 0 without such a socket. */
int weir__notify(const char *state);

/* How many sockets $LISTEN_FDS passed to this very process, from descriptor 3 on; 0 for none.
 * Forgets them: the second call gives 0. */
int weir__notify_listen_fds(void);

enum { WEIR__LISTEN_FD_FIRST = 3, WEIR__LISTEN_FDS_MAX = 64 };

#endif
