/* SPDX-License-Identifier: MIT */
/*
 * A fiber is a stack that can be switched to. The switch is written into its caller, which thus
 * saves what it still needs of its registers itself, and leaves by an indirect jump. So no call
 * is left open and no return is made twice: the returns above are predicted as if nothing had
 * happened. (A switch that is a function costs as much as the rest of a wait: with `ret` its own
 * return is mispredicted now and then, with a jump every return after it.)
 *
 * MXCSR and the x87 word are not saved: a task must not change the floating-point mode across a
 * wait. The sanitizers are told of every switch.
 */
#ifndef WEIR_RT_FIBER_H
#define WEIR_RT_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define WEIR__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR__ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEIR__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEIR__TSAN 1
#endif
#endif

#ifdef WEIR__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEIR__TSAN
#include <sanitizer/tsan_interface.h>
#endif

struct weir__fiber {
	void *sp, *fp, *pc; /* where it goes on; gdb/weir.py knows them */
#ifdef WEIR__ASAN
	const void *bottom;
	size_t size;
	void *fake;
#endif
#ifdef WEIR__TSAN
	void *tsan;
	bool tsan_own;
#endif
};

/* The stack of the calling thread. */
void weir__fiber_init_thread(struct weir__fiber *f);

/* A new one on [bottom, top): the first switch to it calls entry(arg), which must not return. */
void weir__fiber_start(void);
static inline void weir__fiber_init(struct weir__fiber *f, void *bottom, void *top,
                                    void (*entry)(void *), void *arg)
{
	uintptr_t *sp = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15) - 2;

	sp[0] = (uintptr_t)entry;
	sp[1] = (uintptr_t)arg;
	f->sp = sp;
	f->fp = NULL;
	f->pc = (void *)weir__fiber_start;
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

static inline void weir__fiber_fini(struct weir__fiber *f)
{
#ifdef WEIR__TSAN
	if (f->tsan_own)
		__tsan_destroy_fiber(f->tsan);
#endif
	(void)f;
}

/* The first words of a fiber, before its entry runs anything else. */
static inline void weir__fiber_arrived(struct weir__fiber *self)
{
#ifdef WEIR__ASAN
	__sanitizer_finish_switch_fiber(self->fake, NULL, NULL);
#endif
	(void)self;
}

/* For the list of registers that a switch does not keep. */
#ifdef __AVX512F__
#define WEIR__AVX512                                                                              \
	"xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \
		"xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4",     \
		"k5", "k6", "k7",
#else
#define WEIR__AVX512
#endif

/* `last`: `from` will never be switched to again. */
static inline __attribute__((always_inline)) void
weir__fiber_switch(struct weir__fiber *from, struct weir__fiber *to, bool last)
{
#ifdef WEIR__ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->bottom, to->size);
#endif
#ifdef WEIR__TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	(void)last;
#if defined(__x86_64__)
	struct weir__fiber *a = from, *b = to;

	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
	                 "movq %%rsp, (%0)\n\t"
	                 "movq %%rbp, 8(%0)\n\t"
	                 "movq %%rax, 16(%0)\n\t"
	                 "movq (%1), %%rsp\n\t"
	                 "movq 8(%1), %%rbp\n\t"
	                 "jmp *16(%1)\n"
	                 "1:"
	                 : "+D"(a), "+S"(b)
	                 :
	                 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13",
	                   "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
	                   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
	                   "xmm15", WEIR__AVX512 "memory", "cc");
#elif defined(__aarch64__)
	register struct weir__fiber *a __asm__("x0") = from, *b __asm__("x1") = to;

	__asm__ volatile("adr x9, 1f\n\t"
	                 "mov x10, sp\n\t"
	                 "stp x10, x29, [%0]\n\t"
	                 "str x9, [%0, #16]\n\t"
	                 "ldp x10, x29, [%1]\n\t"
	                 "ldr x9, [%1, #16]\n\t"
	                 "mov sp, x10\n\t"
	                 "br x9\n"
	                 "1:\n\t"
	                 "hint #36"
	                 : "+r"(a), "+r"(b)
	                 :
	                 : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
	                   "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22",
	                   "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3",
	                   "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
	                   "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
	                   "v25", "v26", "v27", "v28", "v29", "v30", "v31", "memory", "cc");
#else
#error "Weir runs on x86-64 and aarch64"
#endif
	weir__fiber_arrived(from);
}

#endif
