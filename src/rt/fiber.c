/* SPDX-License-Identifier: MIT */
#include "rt/fiber.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#ifdef WEIR__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEIR__TSAN
#include <sanitizer/tsan_interface.h>
#endif

void weir__fiber_start(void);

void weir__fiber_init_thread(struct weir__fiber *f)
{
	memset(f, 0, sizeof *f);
#ifdef WEIR__ASAN
	pthread_attr_t attr;
	void *bottom;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &bottom, &f->size);
	pthread_attr_destroy(&attr);
	f->bottom = bottom;
#endif
#ifdef WEIR__TSAN
	f->tsan = __tsan_get_current_fiber();
#endif
}

void weir__fiber_init(struct weir__fiber *f, void *bottom, void *top, void (*entry)(void *),
                      void *arg)
{
	uintptr_t *sp = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15);

#if defined(__x86_64__)
	sp -= 9;
	memset(sp, 0, 9 * sizeof *sp);
	/* r15 r14 r13 r12 rbx rbp, the return address, and two words for alignment. */
	sp[2] = (uintptr_t)arg;
	sp[3] = (uintptr_t)entry;
	sp[6] = (uintptr_t)weir__fiber_start;
#elif defined(__aarch64__)
	sp -= 20;
	memset(sp, 0, 20 * sizeof *sp);
	sp[0] = (uintptr_t)entry;
	sp[1] = (uintptr_t)arg;
	sp[11] = (uintptr_t)weir__fiber_start;
#else
#error "Weir runs on x86-64 and aarch64"
#endif
	f->sp = sp;
#ifdef WEIR__ASAN
	__asan_unpoison_memory_region(bottom, (size_t)((char *)top - (char *)bottom));
	f->bottom = bottom;
	f->size = (size_t)((char *)top - (char *)bottom);
	f->fake = NULL;
#endif
#ifdef WEIR__TSAN
	f->tsan = __tsan_create_fiber(0);
	f->tsan_own = true;
#endif
	(void)bottom;
}

void weir__fiber_fini(struct weir__fiber *f)
{
#ifdef WEIR__TSAN
	if (f->tsan_own)
		__tsan_destroy_fiber(f->tsan);
#endif
	(void)f;
}

#ifdef WEIR__TSAN
__attribute__((no_sanitize("thread")))
#endif
void weir__fiber_switch(struct weir__fiber *from, struct weir__fiber *to, bool last)
{
#ifdef WEIR__ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->bottom, to->size);
#endif
#ifdef WEIR__TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	(void)last;
	weir__switch(&from->sp, to->sp);
	weir__fiber_arrived(from);
}

void weir__fiber_arrived(struct weir__fiber *self)
{
#ifdef WEIR__ASAN
	__sanitizer_finish_switch_fiber(self->fake, NULL, NULL);
#endif
	(void)self;
}
