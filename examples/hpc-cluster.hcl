# A head and workers that know each other: a cluster for jobs that log in from machine
# to machine, as MPI and batch systems do.
#
#   make build && hack/machine     # flowctl, and the disk that machines start from
#   flowctl apply examples/hpc-cluster.hcl
#   flowctl exec -spec=examples/hpc-cluster.hcl vm.head -- ssh worker-n2-0 hostname
#
# Take any name out of workers, or put one in, and apply again.

flow "hpc" {
  description = "One head, and workers that it reaches without a password"
  provider    = "libvirt"
}

variable "workers" {
  type        = list(string)
  default     = ["n1", "n2", "n3"]
  description = "The workers' names"
}

network "lan" {}

vm "head" {
  cpus    = 1
  memory  = "192MiB"
  network = network.lan
}

vm "worker" {
  for_each = toset(var.workers)
  cpus     = 1
  memory   = "192MiB"
  network  = network.lan
}

cluster "hpc" {
  head       = vm.head
  workers    = vm.worker
  hosts_file = true
  ssh_mesh   = true
}

output "machines" {
  value = { for m in cluster.hpc.member : m.name => m.address }
}
