// Tasks to begin with. They use `busybox` alone, and nothing from the network.

const IMAGE = "busybox:latest";
const shell = (script) => ["sh", "-c", script];

export const EXAMPLES = [
  {
    title: "Hello",
    about: "One program, and a file that comes with the request.",
    task: {
      name: "hello",
      inputs: [{ path: "/data/who.txt", content: "world" }],
      executors: [{ image: IMAGE, command: shell('echo "Hello, $(cat /data/who.txt)!"') }],
    },
  },
  {
    title: "Watch it live",
    about: "Writes a line each second for half a minute: look at its logs as they come.",
    task: {
      name: "thirty seconds",
      executors: [{ image: IMAGE, command: shell("for i in $(seq 30); do echo \"line $i of 30\"; sleep 1; done") }],
      resources: { cpu_cores: 1, ram_gb: 0.5 },
    },
  },
  {
    title: "Two executors",
    about: "The second works on what the first has left in a shared volume.",
    task: {
      name: "count bases",
      inputs: [{ path: "/data/reads.fa", content: ">read1\nGATTACA\n>read2\nCCGGAATT\n" }],
      volumes: ["/work"],
      executors: [
        { image: IMAGE, command: shell("grep -v '>' /data/reads.fa > /work/bases.txt") },
        { image: IMAGE, command: shell("fold -w 1 /work/bases.txt | sort | uniq -c") },
      ],
    },
  },
  {
    title: "Files from and to servers",
    about: "Put your own addresses in: http(s), ftp(s), s3, or file below a file root.",
    task: {
      name: "checksum",
      inputs: [{ path: "/data/input.dat", url: "https://data.example.org/input.dat" }],
      outputs: [{ path: "/results/sums.txt", url: "s3://bucket/results/sums.txt" }],
      volumes: ["/results"],
      executors: [{ image: IMAGE, command: shell("sha256sum /data/input.dat | tee /results/sums.txt") }],
      resources: { cpu_cores: 1, ram_gb: 1, disk_gb: 10 },
      tags: { project: "example" },
    },
  },
  {
    title: "A task that fails",
    about: "To see what failure looks like: the exit code, the reason, and what it printed.",
    task: {
      name: "fails on purpose",
      executors: [{ image: IMAGE, command: shell("echo 'this went wrong' >&2; exit 3") }],
    },
  },
];
