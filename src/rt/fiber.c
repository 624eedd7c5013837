/* SPDX-License-Identifier: MIT */
#include "rt/fiber.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

/*
 * Where a new fiber goes on: its entry and the argument are the first words on its stack. The
 * zero frame pointer and the undefined return address end every backtrace. The entry is jumped to,
 * not called, since it never returns: a call without its return would make the processor mispredict
 * every return of whoever runs next.
 */
__asm__("	.text\n"
        "	.globl	weir__fiber_start\n"
        "	.hidden	weir__fiber_start\n"
        "weir__fiber_start:\n"
        "	.cfi_startproc\n"
#if defined(__x86_64__)
        "	.cfi_undefined %rip\n"
        "	popq	%rax\n"
        "	movq	(%rsp), %rdi\n"
        "	leaq	1f(%rip), %rcx\n"
        "	movq	%rcx, (%rsp)\n"
        "	jmpq	*%rax\n"
        "1:	ud2\n"
#elif defined(__aarch64__)
        "	.cfi_undefined x30\n"
        "	hint	#36\n" /* bti j: it is jumped to */
        "	ldp	x16, x0, [sp], #16\n"
        "	adr	x30, 1f\n"
        "	br	x16\n" /* x16: such a jump may land where a call may */
        "1:	brk	#0\n"
#endif
        "	.cfi_endproc\n");
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
