# The rules of VIM/VMM: containers by the load of their machine, machines by the least
# loaded of them.
#
#   above 30 % for five checks of two seconds    a second container
#   above 60 %                                   a third: a machine takes no more
#   all machines at 80 % and above               another machine, of three
#
# It never shrinks, and neither does this: mode = "on" and a step with below = would.

flow "vim-vmm" {}

variable "substrate" {
  type    = string
  default = "local"
}

variable "listen" {
  type    = string
  default = "127.0.0.1:8080"
}

variable "above" {
  type        = list(number)
  default     = [0.3, 0.6, 0.8]
  description = "The shares of a machine's processors above which there is a second container, a third, and another machine"
}

variable "checks" {
  type        = string
  default     = "10s"
  description = "How long five checks take"
}

vm "vmm" {
  provider = var.substrate
  cpus     = 2
  memory   = "2GiB"
  slots    = 3
}

function "web" {
  on   = vm.vmm
  exec = ["flowctl-demo", "fib"]
  cpu  = 0.6

  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen  = var.listen
  balance = "least_conn"
  to      = function.web
}

scaling "web" {
  target = function.web
  min    = 1
  max    = 9
  every  = "2s"
  mode   = "up_only"

  metric "cpu" {
    source = "machine"
  }

  step "second" {
    metric = "cpu"
    above  = var.above[0]
    below  = var.above[1]
    for    = var.checks
    to     = 2
  }

  step "third" {
    metric = "cpu"
    above  = var.above[1]
    below  = var.above[2]
    for    = var.checks
    to     = 3
  }

  step "full" { # as many as there are fill the machines, one more needs another
    metric = "cpu"
    above  = var.above[2]
    for    = var.checks
    add    = 1
  }
}

scaling "vmm" {
  target = vm.vmm
  min    = 1
  max    = 3
}

output "url" {
  value = frontend.www.url
}
