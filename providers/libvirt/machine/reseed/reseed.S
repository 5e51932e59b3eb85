# reseed mixes what it reads from its standard input, 512 bytes at most, into the
# kernel's random numbers, credits it as random, and has them start anew from it at
# once (random(4): RNDADDENTROPY, RNDRESEEDCRNG). It ends with status 0 if all of that
# worked. A machine that is restored from the state of another would else give out the
# same numbers as all its sisters, and writing to /dev/random alone changes that a
# minute later. Nothing in busybox does this.
#
#   as -o reseed.o reseed.S && ld -s -n -N --build-id=none -o reseed reseed.o
	.globl _start
_start:
	xor	%eax, %eax		# read(0, buffer, 512)
	xor	%edi, %edi
	mov	$buffer, %esi
	mov	$512, %edx
	syscall
	test	%rax, %rax
	jle	fail
	mov	%eax, size
	shl	$3, %eax		# in bits
	mov	%eax, pool
	mov	$2, %eax		# open("/dev/urandom", O_WRONLY)
	mov	$path, %edi
	mov	$1, %esi
	syscall
	test	%eax, %eax
	js	fail
	mov	%eax, %edi
	mov	$16, %eax		# ioctl(fd, RNDADDENTROPY, &pool)
	mov	$0x40085203, %esi
	mov	$pool, %edx
	syscall
	test	%eax, %eax
	jnz	fail
	mov	$16, %eax		# ioctl(fd, RNDRESEEDCRNG)
	mov	$0x5207, %esi
	xor	%edx, %edx
	syscall
	test	%eax, %eax
	jnz	fail
	xor	%edi, %edi
	jmp	end
fail:	mov	$1, %edi
end:	mov	$60, %eax		# exit
	syscall
path:	.asciz	"/dev/urandom"
	.bss
	.balign	4
pool:	.skip	4			# struct rand_pool_info
size:	.skip	4
buffer:	.skip	512
