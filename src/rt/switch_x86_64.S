/* SPDX-License-Identifier: MIT */
/*
 * void weir__switch(void **save, void *load). It leaves by ret: nearly all tasks are suspended in the same call of it (in weir__leave()), so the
 * predicted return is the right one, and the predictor's stack stays level with the calls above. (An indirect jump is faster in
 * a loop of bare switches, but leaves one entry too many, and then every return up to the user's code is mispredicted.)
 */
#ifdef __x86_64__
	.text
	.globl	weir__switch
	.hidden	weir__switch
	.type	weir__switch, @function
weir__switch:
	.cfi_startproc
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.cfi_endproc
	.size	weir__switch, . - weir__switch

/* Where a new fiber starts: entry in r12, its argument in r13. The zero rbp and the undefined rip end every backtrace. */
	.globl	weir__fiber_start
	.hidden	weir__fiber_start
	.type	weir__fiber_start, @function
weir__fiber_start:
	.cfi_startproc
	.cfi_undefined %rip
	xorl	%ebp, %ebp
	movq	%r13, %rdi
	callq	*%r12
	ud2
	.cfi_endproc
	.size	weir__fiber_start, . - weir__fiber_start
#endif
	.section .note.GNU-stack,"",@progbits
