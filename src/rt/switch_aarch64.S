/* SPDX-License-Identifier: MIT */
/* void weir__switch(void **save, void *load) for AAPCS64: x19–x30 and d8–d15. */
#ifdef __aarch64__
	.text
	.globl	weir__switch
	.hidden	weir__switch
	.type	weir__switch, %function
weir__switch:
	.cfi_startproc
	sub	sp, sp, #160
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #160
	br	x30
	.cfi_endproc
	.size	weir__switch, . - weir__switch

/* Where a new fiber starts: entry in x19, its argument in x20. */
	.globl	weir__fiber_start
	.hidden	weir__fiber_start
	.type	weir__fiber_start, %function
weir__fiber_start:
	.cfi_startproc
	.cfi_undefined x30
	mov	x29, #0
	mov	x30, #0
	mov	x0, x20
	blr	x19
	brk	#0
	.cfi_endproc
	.size	weir__fiber_start, . - weir__fiber_start
#endif
	.section .note.GNU-stack,"",%progbits
