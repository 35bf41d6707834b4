"""The worker: runs one task attempt at the compute site, where the data and the containers are.

It is shipped with every job as a zipapp, needs Python >= 3.9 and nothing else, and imports nothing
of the rest of `tesp_api`. The API and the worker share only files in the Pulsar job directory:

    tool_files/tesp-worker.pyz       this package
    tool_files/task.json             the order, written by `runner/job_plan.py`
    task/                            the worker's own: the files of the task; removed at its end
    inputs/                          what the gateway has brought, by flat names
    metadata/tesp/                   the worker's truth, read by the API:
        started                      JSON {pid, pid_started, host, at, worker}; made with O_EXCL: a second
                                     worker exits; pid_started is null where there is no /proc; worker is
                                     a random id of this one
        reserve                      takes up room until the result is written
        cancel                       made by the API: stop the container, end CANCELED
        heartbeat                    JSON {beat, events_bytes, logs: {"0.stdout": size_bytes}, ended};
                                     replaced at every change and at least every `heartbeat_s`
        events.ndjson                one JSON object a line: {seq, at, event, ...}; seq counts from 0
        logs/{executor}.{stream}.{chunk:06d}
                                     the executor's stdout or stderr, cut every `log_chunk_bytes`:
                                     chunk n begins at byte n * log_chunk_bytes. Beyond log_max_bytes
                                     the middle chunks are deleted; sizes always count every byte
        inputs.json                  from a gateway: what it has brought; its last file before the launch
        out/{000001}                 for a gateway: outputs to send; there until the API removes the job
        result.json                  the end of it all; written to a temporary name, then renamed
        home.json                    where `site.home` asks for it, the worker's very last file: what of the
                                     above fits into 256 KiB, for Pulsar to send home

Events: `initializing`, `executor_started` {executor}, `executor_ended` {executor, exit_code,
started_at, ended_at, stdout_bytes, stderr_bytes}, `staging_out`, `message` {text}: a line for `system_logs`,
`ended` {state}.
`transfer` {direction: "input" | "output", url, path, done_bytes, total_bytes | null, files_done,
files_total | null, ended}: how far a declared input or output is, of those that take longer than a second;
at growing intervals (`progress.py`), and at its end, be it a good one or not. total_bytes is known of single
files, files_total of these and of outputs.

task.json:
    {version: 1, task_id, attempt, job_id,
     inputs: [...], outputs: [...], executors: [...], volumes: [...], resources: {...}   (TES shapes)
     site: {runtimes: ["docker", "podman", "apptainer", "singularity", "bubblewrap"], (in order of choice)
            runtime_args: {"podman": ["--runtime", "runc"]}, (added to each run)
            network: "default" | "none" | "bridge" | "host",
            confinement: {pids_max, capabilities, ...},   (optional, as each of them: `order.Confinement`)
            read_only_inputs: true | false,  (optional)
            file_roots: [{path, mount: "copy" | "ro" | "rw"}],
            log_max_bytes, log_chunk_bytes, heartbeat_s,
            bell: "tesp-0123abcd" | null,    an abstract Unix datagram socket to send the job id to
            staging: "worker" | "gateway",   gateway: the API moves what is not of this site; URLs of
                                             servers come without their secrets then
            transfers: {stall_s, tries, pause_s, at_once},   (optional, as each of them: `order.Patience`)
            home: true | false,              whether to write home.json (optional)
            walltime_s: 600 | null,          what the scheduler there was told of the task's time (optional)
            rules: {allow_schemes, deny_schemes, ..., trusted}},   (lists; optional, as each: `rules.Rules`)
     channel: {url, ca_pem, token} | null,   how to reach the API: "unix:/path/of/socket" or http(s)://...;
                                             ca_pem may be null; the token is good while the attempt lives
     report: {url, ca_pem, token} | null,    where to post news, as `channel`; null where nobody waits for it
     permits: {url, ca_pem, token} | null,   where to ask for permits; null where the worker needs none
     lent: {gets: {S3_URL: signed_url},      for a site without a channel; null elsewhere
            listings: {S3_URL: [{name, size_bytes, url}]},
            forms: [{s3_url, is_prefix, url, fields, max_bytes}]} | null}

The channel: HTTP with JSON bodies and `Authorization: Bearer TOKEN`. Errors are {detail}: 400 for a body that
is wrong, 401 for a token that is forged or not of this server, 403 for a URL that is not the attempt's, 410
when the attempt has ended, 503 when the API cannot say now (ask again).
    POST /channel/v1/logins {}                                -> {logins: [{name, url_prefix, username,
                                                                            password, headers}]}
    POST /channel/v1/sign {asks: [{operation, url, parameters}]} -> {signed: [{method, url, headers}]}
                                                              at most 500 (`transfer.lending.Ask`)

    POST /channel/v1/permit {worker, step: "start" | "commit"}  -> {cancel}
        Before the first executor, and before any output is sent. `cancel`: end CANCELED. 410: this worker is
        not the one of its attempt, or the attempt is over. It ends, and leaves everything else alone.

home.json:
    {files: {"result.json": base64}}   heartbeat, result.json, events.ndjson, chunks of logs (the last first);
                                       each whole or not there
    POST /channel/v1/report {files: [{name, offset, size_bytes, data}]} -> {cancel, again: ["NAME"]}
        There is news, which comes along: of files of metadata/tesp what is new, in base64, the heartbeat
        last; of logs only where the API cannot read the job's files (`site.home`). `cancel`: make the file
        `cancel`. `again`: what came before `offset` is not there; send these files from their beginning.

inputs.json:
    {inputs: {"0": [{name, file, size_bytes, sha256}]},   by the number of the task's input; name is "" for
                                                          the input itself; file is null for a directory
     messages: ["..."]}                                   for `system_logs`

result.json:
    {version: 1, state: "COMPLETE" | "EXECUTOR_ERROR" | "SYSTEM_ERROR" | "CANCELED", reason,
     cause: "" | "executor" | "staging" | "storage_away" | "ended_by_site" | "time_limit" | "runtime" |
            "order" | "other" | "never_started" | "not_permitted",
                                                  (of the two errors: what was at fault, see `errors.py`)
     begun,                                       (so many executors may have started)
     worker,                                      (as in `started`)
     started_at, ended_at,
     executors: [{exit_code, started_at, ended_at, stdout_bytes, stderr_bytes}],   (those that started)
     inputs: [{path, url, size_bytes, sha256}],   (each file; no url for content, no sha256 for a file
                                                  that is mounted from where it lies)
     outputs: [{url, path, size_bytes, sha256}],  (no sha256 for what lies in its place already; and `sha1`
                                                  and others that the task's `checksums` asks for)
     left: [{output, below, path, file, size_bytes, sha256}],   (for a gateway: to be sent to the URL of
                                                  the task's output of this number, extended by `below`,
                                                  "" or "/a%20b/c"; an empty directory has no file,
                                                  size and checksum)
     system_logs: ["..."],
     metadata: {"host": "...", "runtime": "docker 20.10.24"}}   (strings only)
"""
