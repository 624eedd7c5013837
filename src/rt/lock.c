/* SPDX-License-Identifier: MIT */
#include "rt/lock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 100 };

void weir__lock_slow(weir__lock *l)
{
	int saved = errno;

	if (weir__simulating) {
		uint32_t zero = 0;
		while (!__atomic_compare_exchange_n(&l->word, &zero, 1, false, __ATOMIC_ACQUIRE,
		                                    __ATOMIC_RELAXED)) {
			zero = 0;
			weir__sim_give_way();
		}
		return;
	}
	for (int i = 0; i < SPINS; i++) {
		uint32_t zero = 0;
		if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 &&
		    __atomic_compare_exchange_n(&l->word, &zero, 1, false, __ATOMIC_ACQUIRE,
		                                __ATOMIC_RELAXED))
			return;
		weir__relax();
	}
	while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0)
		syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	errno = saved;
}

void weir__lock_wake(weir__lock *l)
{
	int saved = errno;

	if (!weir__simulating)
		syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved;
}
