//go:build !libvirt_dlopen || !cgo

package libvirt

import (
	"errors"

	"github.com/flowctl/flowctl/providers"
)

// dial says that there is nothing to dial with.
func dial(string) (hypervisor, error) {
	return nil, providers.Permanent(errors.New("this flowctl was built without libvirt: build it with CGO_ENABLED=1 and -tags libvirt_dlopen, as 'make build' does where there is a C compiler"))
}
