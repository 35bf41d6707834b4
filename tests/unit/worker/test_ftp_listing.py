"""Lines of LIST as vsftpd, Pure-FTPd, ProFTPD, pyftpdlib and IIS write them."""

import pytest

from tesp_api.worker.transfer.ftp_listing import read_line


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-rw-r--r--    1 103      0               2 Nov 22 17:10 plain", ("-", "plain")),
        ("-rw-r--r--    1 103      0               2 Nov 22 17:10  lead", ("-", " lead")),
        ("-rw-r--r--    1 103      0               2 Nov 22 17:10 trail ", ("-", "trail ")),
        ("-rw-r--r--    1 103      0               2 Nov 22 17:10 -dash", ("-", "-dash")),
        ("-rw-r--r--    1 103      0               0 Nov 22 17:10 00:11 x", ("-", "00:11 x")),
        ("-rw-r--r--    1 103      0            2024 Nov 22 17:10 y2024", ("-", "y2024")),
        ("-rw-r--r--    1 1000     10           2024 Nov 22 17:10 1 Jan 2 2024 x", ("-", "1 Jan 2 2024 x")),
        ("-rw-r--r--    1 103      0        5368709120 Nov 22 17:10 big", ("-", "big")),
        ("-rw-r--r--    1 103      0               0 Feb 03  2001 old", ("-", "old")),
        ("-rwsr-xr-t+   1 user     domain users    2 Nov  2 17:10 acl", ("-", "acl")),
        ("-rw-r--r--    1 103      0               2 Nov 22 17:10 a -> b", ("-", "a -> b")),
        ("drwxr-xr-x    2 lfuser     0                4096 Nov 22 17:10 sub dir", ("d", "sub dir")),
        ("drwxr-xr-x    2 lfuser     0                4096 Nov 22 17:10 .", ("d", ".")),
        ("prw-r--r--    1 103      0               0 Nov 22 17:10 fifo", ("p", "fifo")),
        ("lrwxrwxrwx    1 103      0               7 Nov 22 17:10 dlink -> sub dir", ("l", "dlink")),
        ("lrwxrwxrwx    1 103      0               5 Nov 22 17:10 l -> m -> plain", ("l", "l -> m")),
        ("lrwxrwxrwx    1 103      0               6 Nov 22 17:10 n -> a -> b", ("l", "n")),
        ("lrwxrwxrwx    1 103      0               0 Nov 22 17:10 x -> y", ("l", "x")),
        ("-rw-r--r--   1 root     root  12 2026-11-22 17:10 iso", ("-", "iso")),
        ("11-22-26  05:10PM       <DIR>          sub dir", ("d", "sub dir")),
        ("11-22-2026  17:10                 1234 with space", ("-", "with space")),
        ("11-22-26  05:10PM       <JUNCTION>     elsewhere", ("l", "elsewhere")),
        ("total 12", None),
        ("+i8388621.29609,m824255902,/,\tdev", None),
        ("", None),
    ],
)
def test_a_line_tells_kind_and_name(line: str, wanted: tuple[str, str] | None) -> None:
    assert read_line(line) == wanted
