/* SPDX-License-Identifier: MIT */
/* void weir__switch(void **save, void *load): an indirect jump instead of ret, which would break the return predictor. */
#ifdef __x86_64__
	.text
	.globl	weir__switch
	.hidden	weir__switch
	.type	weir__switch, @function
weir__switch:
	.cfi_startproc
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rcx
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%rcx
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	jmpq	*%rcx
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
