package engine

import "slices"

// VM is the value of one machine that flowctl makes: vm.NAME[n].
type VM struct {
	CPUs    float64           `flow:"cpus,required" min:"0.1" max:"1024" doc:"Processor cores that the machine may use."`
	Memory  Size              `flow:"memory,required" min:"1MiB" doc:"Memory that the machine may use."`
	Slots   int               `flow:"slots" min:"0" max:"1000000" default:"0" doc:"The most replicas that the machine takes; 0 means as many as its cpus and memory allow."`
	Network Link              `flow:"network,replace" doc:"The network that the machine is on, as a reference: network.NAME."`
	Labels  map[string]string `flow:"labels" doc:"Free-form labels."`

	MaxCPUs   float64 `flow:"max_cpus,replace" min:"0.1" max:"1024" doc:"Up to how many cpus a virtual machine gets more while it runs. Without it, a change of cpus needs a new machine; fewer always do. Machines of the local provider change as they run, and ignore it and max_memory."`
	MaxMemory Size    `flow:"max_memory,replace" min:"1MiB" doc:"Up to how much memory a virtual machine gets more, or has got and gives back, while it runs. Without it, a change of memory needs a new machine."`

	Image    string            `flow:"image,replace" rule:"filled" doc:"The disk that the machine starts from, for providers that make virtual machines: a file (qcow2 or raw), relative to the spec, or the URL of one; the provider's, if not set. It is never written to. The local provider ignores it and all that follow."`
	SHA256   string            `flow:"sha256,replace" rule:"filled" doc:"The image's SHA-256, in hexadecimal. An image at a URL needs it; a file is compared with it."`
	DiskSize Size              `flow:"disk_size,replace" min:"1MiB" doc:"How large the machine's own disk is; as large as the image, if not set."`
	Boot     *Boot             `flow:"boot,replace" doc:"What the machine starts, where that is not what its disk says."`
	UserData string            `flow:"user_data,replace" doc:"What cloud-init, or whatever plays its part in the machine, does at the first start."`
	Metadata map[string]string `flow:"metadata,replace" doc:"What the machine is told of itself, as cloud-init's meta-data."`
	Files    []MachineFile     `flow:"file,replace" doc:"Files that the machine finds in its seed."`

	ID      string `flow:"id,computed" doc:"The provider's own name of the machine."`
	Address string `flow:"address,computed" doc:"The machine's IP address."`
}

// Boot is a kernel that a machine starts directly, without a boot loader.
type Boot struct {
	Kernel  string `flow:"kernel" rule:"filled" doc:"The kernel: a file, relative to the spec; the provider's, if not set."`
	Initrd  string `flow:"initrd" rule:"filled" doc:"The kernel's initial file system: a file, relative to the spec; the provider's, if not set."`
	Cmdline string `flow:"cmdline" doc:"More words for the kernel's command line."`
}

// MachineFile is a file that a spec gives to a machine.
type MachineFile struct {
	Name    string `flow:"name,label" doc:"What it is called: letters, digits, \".\", \"_\" and \"-\", 30 at most."`
	Content string `flow:"content" doc:"What is in it."`
}

// Link is what a machine needs to know of the network that it is on.
type Link struct {
	ID   string `flow:"id,computed" doc:"The network's id."`
	CIDR string `flow:"cidr" doc:"The network's address range."`
}

// Host is the value of a machine that exists without flowctl: host.NAME.
type Host struct {
	Engine string            `flow:"engine,replace" doc:"Where its container engine answers, for providers that need one: unix://…, ssh://user@box or tcp://box:2376; what DOCKER_HOST says, or this machine's own, if not set."`
	TLS    *EngineTLS        `flow:"tls,replace" doc:"How flowctl and a tcp:// engine know each other. Without it, nobody is asked who they are."`
	CPUs   float64           `flow:"cpus,computed,optional" min:"0.1" doc:"Processor cores to use; all that the machine has, if not set."`
	Memory Size              `flow:"memory,computed,optional" min:"1MiB" doc:"Memory to use; all that the machine has, if not set."`
	Slots  int               `flow:"slots" min:"0" max:"1000000" default:"0" doc:"The most replicas that the machine takes; 0 means as many as its cpus and memory allow."`
	Labels map[string]string `flow:"labels" doc:"Free-form labels."`

	ID      string `flow:"id,computed" doc:"The provider's own name of the machine."`
	Address string `flow:"address,computed" doc:"The machine's IP address."`
	Gateway string `flow:"gateway,computed" doc:"Where replicas on the machine reach what listens on the machine itself. A frontend that listens there is reached by them and by the machine, and by nobody else."`
}

// EngineTLS holds the files with which an engine is reached over TLS, relative to
// the spec.
type EngineTLS struct {
	CA   string `flow:"ca" doc:"The certificates that may have signed the engine's; the system's, if not set."`
	Cert string `flow:"cert" doc:"The certificate that says who we are."`
	Key  string `flow:"key" doc:"The certificate's key."`
}

// HostLink is what a network or an image needs to know of the host that it is
// made on.
type HostLink struct {
	ID string `flow:"id,computed" doc:"The host's id."`
}

// Network is the value of a network between machines: network.NAME.
type Network struct {
	CIDR   string            `flow:"cidr,replace" doc:"The address range, such as \"127.10.0.0/24\" (local: a part of 127.0.0.0/8)."`
	Mode   string            `flow:"mode,replace" enum:"nat|bridge|isolated" default:"nat" doc:"How the network reaches others. The local provider, which has the loopback device only, ignores it."`
	Host   HostLink          `flow:"host,replace" doc:"For networks between containers, the host that it is on, as a reference: host.NAME."`
	Bridge string            `flow:"bridge,replace" rule:"filled" doc:"For mode = \"bridge\", the bridge of the computer that machines are joined to, such as \"br0\"."`
	Labels map[string]string `flow:"labels" doc:"Free-form labels."`

	ID      string `flow:"id,computed" doc:"The provider's own name of the network."`
	Gateway string `flow:"gateway,computed" doc:"Where what is on the network reaches what listens on the computer that the network is on. A frontend that listens there is reached by them and by that computer, and by nobody else."`
}

// Image is the value of a container image: image.NAME.
type Image struct {
	Ref      string      `flow:"ref,replace" rule:"filled" doc:"An image reference to pull, such as \"redis:7\"."`
	Archive  string      `flow:"archive,replace" rule:"filled" doc:"The path of a saved image (tar)."`
	Build    *ImageBuild `flow:"build,replace" doc:"Builds the image from a Dockerfile."`
	Platform string      `flow:"platform,replace" doc:"The wanted platform, such as \"linux/amd64\"."`
	Host     HostLink    `flow:"host,replace" doc:"The host whose container engine pulls, builds or loads it first, as a reference: host.NAME."`

	Distribute string `flow:"distribute" enum:"pull|push" doc:"How the other hosts get it whose functions refer to it: each pulls the content that was found first (pull), or it is streamed to them from the first host (push), for machines that reach no registry. What has a ref is pulled and all else is pushed, if not set."`

	ID     string `flow:"id,computed" doc:"The name under which a function uses the image: image = image.NAME.id."`
	Digest string `flow:"digest,computed" doc:"The content that was found, pinned."`
}

// Distribution is how the image gets to further hosts: "pull" or "push".
func (i Image) Distribution() string {
	switch {
	case i.Distribute != "":
		return i.Distribute
	case i.Archive == "" && i.Build == nil:
		return "pull"
	default:
		return "push"
	}
}

// Delivery is the value of one image on one machine besides the host that its
// image block names: delivery.IMAGE/MACHINE.
type Delivery struct {
	Image      string `flow:"image,replace" doc:"The image's address."`
	Name       string `flow:"name" doc:"The image's id."`
	Digest     string `flow:"digest" doc:"The content."`
	Ref        string `flow:"ref" doc:"What is pulled."`
	Platform   string `flow:"platform" doc:"The wanted platform."`
	Distribute string `flow:"distribute" enum:"pull|push" doc:"Whether the machine pulls it or gets it from source."`
	Source     string `flow:"source" doc:"The id of the host that has it first."`
	Machine    string `flow:"machine,replace" doc:"The machine's address."`
	MachineID  string `flow:"machine_id,replace" doc:"That machine's id."`

	ID string `flow:"id,computed" doc:"What the machine has."`
}

// ImageBuild says how an image is built.
type ImageBuild struct {
	Context    string            `flow:"context,required" rule:"filled" doc:"The folder with the build context, relative to the spec."`
	Dockerfile string            `flow:"dockerfile" default:"Dockerfile" doc:"The Dockerfile, relative to the context."`
	Args       map[string]string `flow:"args" doc:"Build arguments."`
	Target     string            `flow:"target" doc:"The stage to build."`
}

// Replica is the value of one running copy of a function: function.NAME[n].
type Replica struct {
	Exec       []string          `flow:"exec,replace" rule:"command" doc:"The program and its arguments. The local provider looks for it beside the spec (if it has a slash), beside flowctl, and on the PATH; container runtimes run it in the image."`
	Image      string            `flow:"image,replace" rule:"filled" doc:"The container image, for container runtimes. The local provider ignores it."`
	Env        map[string]string `flow:"env,replace" rule:"env" doc:"Environment variables. PORT, HOST, FLOWCTL_ADDRESS, FLOWCTL_FLOW, FLOWCTL_REPLICA, FLOWCTL_MACHINE and FLOWCTL_FILES are set by the runtime, whatever is written here."`
	WorkingDir string            `flow:"working_dir,replace" doc:"The working directory; a folder of the replica's own, if not set."`
	Port       int               `flow:"port,replace" min:"1" max:"65535" doc:"The port that the program listens on in a container. The local provider gives each replica a port of its own, in PORT."`
	Protocol   string            `flow:"protocol" enum:"http|h2c|tcp" default:"http" doc:"What the program speaks on its port: HTTP/1.1, HTTP/2 without TLS (gRPC), or something else."`
	CPU        float64           `flow:"cpu" min:"0" default:"0" doc:"Cores that the replica needs, and its limit; 0 means unlimited and counts as nothing in placement."`
	Memory     Size              `flow:"memory" min:"1MiB" doc:"Memory that the replica needs, and its limit."`
	Network    Link              `flow:"network,replace" doc:"The network that the container is on, as a reference: network.NAME; one that all containers of the flow on its host share, if not set."`
	Files      []File            `flow:"file,replace" doc:"Files that the spec puts into the container; the local provider puts them under the folder FLOWCTL_FILES, which is empty in a container."`
	Volumes    []Volume          `flow:"volume,replace" doc:"Folders of the container that outlive it or come from the host."`
	User       string            `flow:"user,replace" doc:"The user, or user:group, that the program runs as in a container; the image's, if not set."`
	ReadOnly   bool              `flow:"read_only,replace" doc:"The container's file system cannot be written to, but for its volumes and /tmp."`
	CapDrop    []string          `flow:"cap_drop,replace" doc:"Capabilities that the container goes without, such as \"NET_RAW\", or \"ALL\"."`
	Restart    string            `flow:"restart,replace" enum:"always|on_failure|no" doc:"When a container that ended is started again at once, by its engine: always, if not set."`
	Log        *LogLimit         `flow:"log,replace" doc:"How much of what a container prints is kept."`
	Health     *Health           `flow:"health" doc:"How to tell that the replica can serve."`
	Drain      Duration          `flow:"drain" min:"0s" default:"10s" doc:"How long requests in flight may take to finish when the replica leaves a frontend."`
	Stop       *Stop             `flow:"stop" doc:"How the program is asked to end."`
	Labels     map[string]string `flow:"labels" doc:"Free-form labels."`

	Machine   string `flow:"machine,computed,replace" doc:"The machine that the replica runs on; chosen by placement in the plan."`
	MachineID string `flow:"machine_id,computed,replace" doc:"That machine's id."`
	ID        string `flow:"id,computed" doc:"The provider's own name of the replica."`
	Host      string `flow:"host,computed" doc:"The IP address at which it is reached."`
	HostPort  int    `flow:"host_port,computed" doc:"The port at which it is reached."`
	Address   string `flow:"address,computed" doc:"host:host_port."`
	URL       string `flow:"url,computed" doc:"http://host:host_port."`

	NetworkAddress string `flow:"network_address,computed" doc:"Where other replicas on its network reach it: with containers its name there and its port, such as web-0:8080, which stay the same when it is replaced."`
}

// File is a file that the spec puts into a container.
type File struct {
	Path    string `flow:"path,label" doc:"Where it is in the container: an absolute path. A program of the local provider finds it at $FLOWCTL_FILES and the path."`
	Content string `flow:"content" doc:"What is in it."`
	Mode    string `flow:"mode" doc:"Its permissions, such as \"0600\"; 0644, if not set."`

	OnChange string   `flow:"on_change" enum:"replace|restart|signal|exec|none" doc:"How a replica that runs takes over what changes in the file. It is replaced, if not set; or else gets the file, and then is restarted, gets a signal, a command runs in it, or nothing more is done. A file that goes away is replacement in any case."`
	Signal   string   `flow:"signal" enum:"SIGHUP|SIGUSR1|SIGUSR2|SIGINT|SIGQUIT|SIGTERM|SIGWINCH" doc:"The signal, with on_change = \"signal\"."`
	Exec     []string `flow:"exec" doc:"The command, with on_change = \"exec\"; it has to end with status 0."`
}

// Volume is a folder of a container that is not part of the container.
type Volume struct {
	Path     string `flow:"path,label" doc:"Where it is in the container: an absolute path."`
	Name     string `flow:"name" doc:"Shares it, under this name, among the flow's containers on a host, and keeps it until the host is destroyed. Without name and source it belongs to the replica and goes with it."`
	Source   string `flow:"source" doc:"A folder of the host instead: an absolute path."`
	ReadOnly bool   `flow:"read_only" doc:"The container cannot write to it."`
}

// LogLimit bounds the log of a container.
type LogLimit struct {
	MaxSize  Size `flow:"max_size" min:"4KiB" doc:"The most that one file holds; 10MiB, if not set."`
	MaxFiles int  `flow:"max_files" min:"1" max:"100" doc:"How many files are kept; 3, if not set."`
}

// Health says how to tell that a replica can serve. With none of http, tcp and
// exec, a replica that stays up through its first moments is taken as healthy,
// unless its image has a HEALTHCHECK of its own.
type Health struct {
	HTTP           string   `flow:"http" doc:"A path that answers with a status from 200 to 399."`
	TCP            bool     `flow:"tcp" default:"false" doc:"The port accepts connections."`
	Exec           []string `flow:"exec" rule:"command" doc:"A command that ends with status 0. It runs in the replica's environment, when the replica starts; frontends do not run it."`
	Interval       Duration `flow:"interval" min:"10ms" default:"1s" doc:"Time between checks."`
	Timeout        Duration `flow:"timeout" min:"1ms" default:"2s" doc:"Longest time for one check."`
	HealthyAfter   int      `flow:"healthy_after" min:"1" max:"100" default:"1" doc:"Successes in a row that make it healthy."`
	UnhealthyAfter int      `flow:"unhealthy_after" min:"1" max:"100" default:"3" doc:"Failures in a row that make it unhealthy."`
	StartTimeout   Duration `flow:"start_timeout" min:"10ms" default:"30s" doc:"Longest time from start to healthy; after it, the deployment of the replica has failed."`
}

// Stop says how a program is asked to end.
type Stop struct {
	Signal string   `flow:"signal" enum:"SIGTERM|SIGINT|SIGQUIT|SIGHUP|SIGUSR1|SIGUSR2|SIGKILL" default:"SIGTERM" doc:"The signal that asks the program to end."`
	Grace  Duration `flow:"grace" min:"0s" default:"10s" doc:"How long it may take; then it is killed."`
}

// Function is a function block: a group of replicas.
type Function struct {
	On            []Address     `flow:"on,required,meta" refs:"vm|host" doc:"The machines that the replicas run on: a vm or host, or a list of them."`
	Replicas      int           `flow:"replicas,meta" min:"0" max:"100000" default:"1" doc:"How many copies run. Not with a scaling block, which owns the number."`
	Spread        bool          `flow:"spread,meta" default:"false" doc:"Put replicas on as many machines as there are, rather than on as few as will do."`
	MaxPerMachine int           `flow:"max_per_machine,meta" min:"1" max:"1000000" doc:"The most replicas of this function on one machine."`
	Colocate      []Address     `flow:"colocate,meta" refs:"function" doc:"Functions on the same data path: their replicas share machines with this one's where they fit."`
	Avoid         []Address     `flow:"avoid,meta" refs:"function" doc:"Functions that must not share a machine with this one."`
	Update        *UpdatePolicy `flow:"update,meta" doc:"How replicas are replaced when something changes."`
	Replica
}

// MachineBlock is a vm block: a group of machines.
type MachineBlock struct {
	Count int `flow:"count,meta" min:"0" max:"1000000" default:"1" doc:"How many machines. Not with a scaling block, which owns the number."`
	Warm  int `flow:"warm,meta" min:"0" max:"1000" default:"0" doc:"How many more machines are kept ready, for providers that can: a machine that is to be made is one of them then, and need not start. They count as none of the machines, and nothing is placed on them, but the images of the functions that may be."`
	VM
}

// Frontend is the value of a load-balanced listener: frontend.NAME.
type Frontend struct {
	Listen         string         `flow:"listen,required" rule:"filled" doc:"Where it listens: \"host:port\", \":port\" for all addresses, port 0 for one that is free."`
	Protocol       string         `flow:"protocol,replace" enum:"http|tcp" default:"http" doc:"Whether it balances HTTP requests or TCP connections."`
	To             Address        `flow:"to" refs:"function" doc:"The function that gets everything: short for one route \"/\"."`
	Routes         []Route        `flow:"route" doc:"Which function gets which requests. The longest path wins, then a host before none, then the most headers."`
	Balance        string         `flow:"balance" enum:"p2c|round_robin|least_conn|hash|random" default:"p2c" doc:"How a backend is chosen: the better of two random ones by latency and load (p2c), in turn by weight, the one with the fewest requests in flight, by a hash, or at random."`
	HashKey        string         `flow:"hash_key" doc:"What balance = \"hash\" hashes: \"source\", \"path\", \"header:NAME\" or \"cookie:NAME\"."`
	Sticky         *Sticky        `flow:"sticky" doc:"Sends a client to the backend that it had before, by a cookie."`
	Health         *FrontHealth   `flow:"health" doc:"How the frontend checks backends whose function has no http or tcp check of its own. Where the function has one, that holds; with neither, backends are not checked."`
	Eject          *Eject         `flow:"eject" doc:"When a backend that fails requests is left out for a while."`
	Retry          *FrontendRetry `flow:"retry" doc:"Second attempts of requests that are idempotent or were never sent."`
	Queue          *Queue         `flow:"queue" doc:"Where requests wait while every backend is busy or none is ready."`
	Timeout        *FrontTimeout  `flow:"timeout" doc:"How long the parts of a request may take."`
	MaxInFlight    int            `flow:"max_in_flight" min:"0" max:"1000000" default:"0" doc:"The most requests in flight per backend; 0 means no limit."`
	SlowStart      Duration       `flow:"slow_start" min:"0s" default:"0s" doc:"How long a new backend's share grows from little to full."`
	MaxHeaderBytes Size           `flow:"max_header_bytes" min:"1KiB" max:"16MiB" default:"64KiB" doc:"The largest request header."`
	MaxBodyBytes   Size           `flow:"max_body_bytes" min:"0B" doc:"The largest request body; no limit if not set."`

	ID      string `flow:"id,computed" doc:"The provider's own name of the frontend."`
	Address string `flow:"address,computed" doc:"host:port at which it is reached."`
	Port    int    `flow:"port,computed" doc:"The port that it listens on."`
	URL     string `flow:"url,computed" doc:"http://host:port, or tcp://host:port."`
}

// Route says which requests go to which function.
type Route struct {
	Path        string            `flow:"path,label" doc:"The path's beginning, on a segment boundary; \"/\" is every path."`
	Host        string            `flow:"host" doc:"The host name, or \"*.example.com\" for all beneath."`
	Headers     map[string]string `flow:"headers" doc:"Headers and their exact values."`
	To          Address           `flow:"to" refs:"function" doc:"The function that gets the requests."`
	Split       []Split           `flow:"split" doc:"Several functions that share the requests by weight, instead of to."`
	StripPrefix bool              `flow:"strip_prefix" default:"false" doc:"Takes the path's beginning away before the request is sent on."`
}

// Split is one of several functions that share a route.
type Split struct {
	To     Address `flow:"to,required" refs:"function" doc:"The function."`
	Weight int     `flow:"weight,required" min:"0" max:"1000000" doc:"Its share, relative to the other splits of the route."`
}

// Targets lists the functions that the frontend balances to, sorted, each once.
func (f Frontend) Targets() []Address {
	var all []Address
	add := func(a Address) {
		if !a.IsZero() {
			all = append(all, a)
		}
	}
	add(f.To)
	for _, r := range f.Routes {
		add(r.To)
		for _, s := range r.Split {
			add(s.To)
		}
	}
	slices.SortFunc(all, Address.Compare)
	return slices.Compact(all)
}

// Sticky keeps a client on its backend.
type Sticky struct {
	Cookie string   `flow:"cookie" default:"flowctl" doc:"The cookie's name."`
	TTL    Duration `flow:"ttl" min:"0s" default:"0s" doc:"How long the cookie lives; 0 means as long as the browser."`
}

// FrontHealth is a frontend's own check of its backends.
type FrontHealth struct {
	HTTP           string   `flow:"http" doc:"A path that answers with a status from 200 to 399; a TCP connection, if not set."`
	Interval       Duration `flow:"interval" min:"10ms" default:"1s" doc:"Time between checks."`
	Timeout        Duration `flow:"timeout" min:"1ms" default:"2s" doc:"Longest time for one check."`
	HealthyAfter   int      `flow:"healthy_after" min:"1" max:"100" default:"1" doc:"Successes in a row that make it healthy."`
	UnhealthyAfter int      `flow:"unhealthy_after" min:"1" max:"100" default:"3" doc:"Failures in a row that make it unhealthy."`
}

// Eject leaves out a backend that fails requests.
type Eject struct {
	ConsecutiveErrors int      `flow:"consecutive_errors" min:"0" max:"1000000" default:"5" doc:"Failures in a row after which it is left out; 0 switches this off."`
	BaseTime          Duration `flow:"base_time" min:"10ms" default:"5s" doc:"How long the first time; longer each time after."`
	MaxPercent        int      `flow:"max_percent" min:"0" max:"100" default:"50" doc:"The most backends left out at once, in percent."`
	PanicPercent      int      `flow:"panic_percent" min:"0" max:"100" default:"30" doc:"When fewer than this percentage are healthy, all are used: better a slow answer than none."`
}

// FrontendRetry limits second attempts.
type FrontendRetry struct {
	Attempts      int `flow:"attempts" min:"0" max:"10" default:"2" doc:"The most second attempts for one request."`
	BudgetPercent int `flow:"budget_percent" min:"0" max:"100" default:"20" doc:"The most second attempts, in percent of all requests."`
}

// Queue holds requests that no backend can take.
type Queue struct {
	Size    int      `flow:"size" min:"0" max:"1000000" default:"1024" doc:"The most requests that wait."`
	Timeout Duration `flow:"timeout" min:"1ms" default:"5s" doc:"The longest that one waits."`
}

// FrontTimeout limits the parts of a request.
type FrontTimeout struct {
	Connect Duration `flow:"connect" min:"1ms" default:"2s" doc:"To reach a backend."`
	Header  Duration `flow:"header" min:"1ms" default:"1m" doc:"From the request's end to the answer's header."`
	Idle    Duration `flow:"idle" min:"1s" default:"1m30s" doc:"How long a connection may rest between two requests, and a body or an answer stand still. Streams (WebSocket, server-sent events, gRPC, TCP) may for 10 minutes."`
	Total   Duration `flow:"total" min:"0s" default:"0s" doc:"The whole request; 0 means no limit."`
}

// Backend is the value of one replica's membership in one frontend.
type Backend struct {
	Frontend  string       `flow:"frontend,replace" doc:"The frontend's address."`
	Function  string       `flow:"function,replace" doc:"The function's address."`
	ReplicaID string       `flow:"replica_id,replace" doc:"The replica's id."`
	Target    string       `flow:"target,replace" doc:"host:port of the replica."`
	Protocol  string       `flow:"protocol,replace" enum:"http|h2c|tcp" default:"http" doc:"What the replica speaks."`
	Drain     Duration     `flow:"drain" default:"10s" doc:"How long requests in flight may take when it leaves."`
	Health    *FrontHealth `flow:"health" doc:"How the frontend checks it; the function's own check, if it has one."`
}

// ClusterBlock is a cluster block: machines that know each other.
type ClusterBlock struct {
	Head    []Address `flow:"head,required,meta" refs:"vm" doc:"The machines that users log in to, mostly one: a vm, or a list of them."`
	Workers []Address `flow:"workers,required,meta" refs:"vm" doc:"The machines that work: a vm, or a list of them."`
	ClusterTies
}

// ClusterTies are what the machines of a cluster know of each other.
type ClusterTies struct {
	HostsFile bool   `flow:"hosts_file" default:"true" doc:"Each finds the others by name, such as worker-0: in its /etc/hosts, which keeps what else is in it."`
	SSHMesh   bool   `flow:"ssh_mesh" default:"true" doc:"The user of each can log in at all others with ssh, without a password and without a question: each machine has a key of its own, which does not leave it, and knows the keys of the others."`
	User      string `flow:"user,replace" default:"root" rule:"account" doc:"The user who can log in at the others, and is there on all of them."`
}

// Cluster is the value of a cluster: cluster.NAME.
type Cluster struct {
	ClusterTies
	Members []ClusterMember `flow:"member" doc:"The machines."`
}

// ClusterMember is a machine of a cluster.
type ClusterMember struct {
	Machine string `flow:"machine" doc:"The machine's address."`
	Role    string `flow:"role" enum:"head|worker" doc:"What it is there for."`
	Name    string `flow:"name" doc:"Its name among the others."`
	ID      string `flow:"id" doc:"The machine's id."`
	Address string `flow:"address" doc:"The machine's IP address."`
}

// Task is the value of a user's own step: task.NAME.
type Task struct {
	Phase      string            `flow:"phase" enum:"provision|deploy|stitch|tune" default:"deploy" doc:"Where in a run it belongs: it is done before any step of a later phase starts, and it starts when what it depends on is done (everything of the earlier phases, if it depends on nothing)."`
	When       string            `flow:"when" enum:"create|update|always" default:"create" doc:"Runs once; or again whenever it, or something that it depends on, changes; or at every apply."`
	Exec       []string          `flow:"exec" rule:"command" doc:"The command to run, on the machine where flowctl runs."`
	HTTP       *TaskHTTP         `flow:"http" doc:"The request to send, instead of exec."`
	Env        map[string]string `flow:"env" rule:"env" doc:"Environment variables for exec."`
	WorkingDir string            `flow:"working_dir" doc:"The working directory; the spec's folder, if not set."`
	Triggers   map[string]string `flow:"triggers" doc:"Values that count as a change for when = \"update\"."`
	Retries    int               `flow:"retries" min:"0" max:"100" default:"0" doc:"Further attempts after a failure."`
	Timeout    Duration          `flow:"timeout" min:"10ms" default:"5m" doc:"The longest that one attempt takes."`

	Output string `flow:"output,computed" doc:"What the command printed, or the answer's body: the first 4 KiB."`
	RunID  string `flow:"run_id,computed" doc:"The operation that ran it last."`
}

// TaskHTTP is a request that a task sends.
type TaskHTTP struct {
	URL     string            `flow:"url,required" rule:"filled" doc:"Where to."`
	Method  string            `flow:"method" enum:"GET|POST|PUT|PATCH|DELETE|HEAD" default:"GET" doc:"The method."`
	Headers map[string]string `flow:"headers" doc:"Request headers."`
	Body    string            `flow:"body" doc:"The request body."`
	Expect  []int             `flow:"expect" doc:"The statuses that are success; 200 to 299, if not set."`
}

// ValueSchema returns the schema of a resource's value.
func ValueSchema(k Kind) *Schema {
	switch k {
	case KindVM, KindWarm:
		return SchemaOf[VM]()
	case KindFunction:
		return SchemaOf[Replica]()
	case KindBackend:
		return SchemaOf[Backend]()
	case KindDelivery:
		return SchemaOf[Delivery]()
	case KindCluster:
		return SchemaOf[Cluster]()
	default:
		return BlockSchema(k)
	}
}

// BlockSchema returns the schema of a block, which holds the resource's value
// and, for groups, what decides about their size and place. It is nil for kinds
// that have no block.
func BlockSchema(k Kind) *Schema {
	switch k {
	case KindVM:
		return SchemaOf[MachineBlock]()
	case KindHost:
		return SchemaOf[Host]()
	case KindNetwork:
		return SchemaOf[Network]()
	case KindImage:
		return SchemaOf[Image]()
	case KindFunction:
		return SchemaOf[Function]()
	case KindFrontend:
		return SchemaOf[Frontend]()
	case KindCluster:
		return SchemaOf[ClusterBlock]()
	case KindScaling:
		return SchemaOf[Scaling]()
	case KindTask:
		return SchemaOf[Task]()
	default:
		return nil
	}
}

// BlockKinds lists the kinds that have a block of their own, in the order of the
// language reference.
var BlockKinds = []Kind{KindVM, KindHost, KindNetwork, KindImage, KindFunction, KindFrontend, KindCluster, KindScaling, KindTask}
