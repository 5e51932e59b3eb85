# The rule of the libvirt autoscaler: a second machine as soon as three samples in a
# row show the first one above 75 % of its processor.
#
#   flowctl apply examples/classics/libvirt-autoscaler.hcl
#   flowctl load -mode=low  'http://127.0.0.1:8000/fib/{n}'     # its light client
#   flowctl load -mode=high 'http://127.0.0.1:8000/fib/{n}'     # its heavy one
#
# There a machine was ready when its processor was below 20 %, and clients were told of
# it over a socket; here it is when the service on it answers, and clients see nothing.

flow "libvirt-autoscaler" {}

variable "substrate" {
  type    = string
  default = "local"
}

variable "listen" {
  type    = string
  default = "127.0.0.1:8000"
}

variable "overload" {
  type        = number
  default     = 0.75
  description = "The share of a machine's processor above which it is overloaded"
}

vm "node" {
  provider = var.substrate
  cpus     = 1
  memory   = "1GiB"
  slots    = 1 # one backend a machine
}

function "fib" {
  on   = vm.node
  exec = ["flowctl-demo", "fib"]

  health {
    http = "/healthz"
  }
}

frontend "fib" {
  listen  = var.listen
  balance = "random"
  to      = function.fib
}

scaling "fib" {
  target = function.fib
  min    = 1
  max    = 2

  metric "cpu" {
    source = "machine" # sampled each second
  }

  step "overload" {
    metric = "cpu"
    above  = var.overload
    for    = "3s"
    add    = 1
  }
}

scaling "node" {
  target = vm.node
  min    = 1
  max    = 2
}

output "url" {
  value = frontend.fib.url
}
