package docker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// defaultRegistry is the key under which Docker keeps the credentials for images
// whose name has no registry.
const defaultRegistry = "https://index.docker.io/v1/"

// clientConfig is the part of Docker's config.json that tells credentials.
type clientConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

func readClientConfig() (clientConfig, error) {
	var c clientConfig
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return c, nil // nobody has logged in
		}
		dir = filepath.Join(home, ".docker")
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fmt.Errorf("read the credentials in %s: %w", filepath.Join(dir, "config.json"), err)
	}
	return c, nil
}

// registryAuth returns the credentials for an image, as a request carries them;
// "" if there are none.
func registryAuth(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("%q is no image: %w", ref, err)
	}
	server := reference.Domain(named)
	if server == "docker.io" {
		server = defaultRegistry
	}
	c, err := readClientConfig()
	if err != nil {
		return "", err
	}
	a, err := c.lookup(server)
	if err != nil || a == (registry.AuthConfig{}) {
		return "", err
	}
	return registry.EncodeAuthConfig(a)
}

// lookup finds the credentials for a registry: with the helper for it, with the
// store for all, or in the file itself.
func (c clientConfig) lookup(server string) (registry.AuthConfig, error) {
	helper := c.CredHelpers[server]
	if helper == "" {
		helper = c.CredsStore
	}
	if helper != "" {
		return askHelper(helper, server)
	}
	for _, key := range []string{server, "https://" + server, "http://" + server, "https://" + server + "/v1/", "https://" + server + "/v2/"} {
		e, ok := c.Auths[key]
		if !ok {
			continue
		}
		a := registry.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, ServerAddress: server}
		if e.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(e.Auth)
			if err != nil {
				return a, fmt.Errorf("the credentials for %s are not base64: log in again with 'docker login'", server)
			}
			a.Username, a.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		}
		return a, nil
	}
	return registry.AuthConfig{}, nil
}

// all returns the credentials that the file itself has, for builds, whose
// Dockerfiles may start from images of any registry.
func (c clientConfig) all() map[string]registry.AuthConfig {
	all := map[string]registry.AuthConfig{}
	for server := range c.Auths {
		if a, err := c.lookup(server); err == nil && a != (registry.AuthConfig{}) {
			all[server] = a
		}
	}
	return all
}

// askHelper asks a program that keeps credentials, in the protocol of
// docker-credential-helpers. One that has none says so; that is no error.
func askHelper(helper, server string) (registry.AuthConfig, error) {
	cmd := osexec.Command("docker-credential-"+helper, "get")
	cmd.Stdin = strings.NewReader(server)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		said := strings.TrimSpace(string(out) + complaint.String())
		if strings.Contains(said, "credentials not found") {
			return registry.AuthConfig{}, nil
		}
		return registry.AuthConfig{}, fmt.Errorf("ask docker-credential-%s for %s: %w: %s", helper, server, err, said)
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("docker-credential-%s: %w", helper, err)
	}
	if got.Username == "<token>" {
		return registry.AuthConfig{IdentityToken: got.Secret, ServerAddress: server}, nil
	}
	return registry.AuthConfig{Username: got.Username, Password: got.Secret, ServerAddress: server}, nil
}
