# A boot sector that shows whether a machine really runs: it goes through protected
# mode and paging to long mode and ends QEMU by a write to port 0xf4, the
# isa-debug-exit device, whose exit status is then 0x2a*2+1 = 85. probe.img is made
# of it:
#
#   gcc -c -x assembler-with-cpp -o probe.o probe.S && objcopy -O binary -j .text probe.o probe.img
.code16
.org 0
start: cli
  xor %ax,%ax; mov %ax,%ds; mov %ax,%es; mov %ax,%ss; mov $0x7c00,%sp
  # page tables at 0x1000: PML4->0x2000->0x3000 2MiB identity
  mov $0x1000,%di; mov $0x3000/4,%cx; xor %eax,%eax; rep stosl
  movl $0x2003,0x1000; movl $0x3003,0x2000; movl $0x83,0x3000
  mov $0x1000,%eax; mov %eax,%cr3
  mov %cr4,%eax; or $0x20,%eax; mov %eax,%cr4
  mov $0xc0000080,%ecx; rdmsr; or $0x100,%eax; wrmsr
  lgdt gdtr-start+0x7c00
  mov %cr0,%eax; or $0x80000001,%eax; mov %eax,%cr0
  ljmp $8,$(lm-start+0x7c00)
.code64
lm: mov $16,%ax; mov %ax,%ds; mov %ax,%ss
  mov $1000,%ecx
1: dec %ecx; jnz 1b
  mov $0x2a,%eax; mov $0xf4,%dx; out %eax,%dx
2: hlt; jmp 2b
gdt: .quad 0,0x00209a0000000000,0x0000920000000000
gdtr: .word 23; .long gdt-start+0x7c00
.org 510
.word 0xaa55
