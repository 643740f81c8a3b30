"""A downloader for pooch with a limit on the size.

pooch's own `HTTPDownloader` has no such limit, and it leaves the connection open after an error.
"""

from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm


class TooLarge(Exception):  # noqa: N818 - it describes the file.
    """A server sends more bytes than allowed. pooch does not try again: it is neither a ValueError nor of requests."""


def download(
    url: str, output_file: str, *, limit: int | None, timeout: tuple[float, float], show_progress: bool = False
) -> None:
    """Download a file.

    Args:
        url: an http(s) address.
        output_file: an existing file, which is replaced.
        limit: largest number of bytes; None allows any.
        timeout: seconds to wait for a connection, and then for further bytes.
        show_progress: whether to show a progress bar after two seconds.

    Raises:
        RequestException: no server, no answer in time, an error of the server, or fewer bytes than announced.
        TooLarge: more than `limit` bytes.
    """
    path = Path(output_file)
    path.unlink()  # pooch made it for this user only; the new file has the usual permissions.
    # Otherwise a server may compress the file, and its length would not be known.
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response, open(path, "wb") as file:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0)) or None
        name = Path(urlsplit(url).path).name
        hidden = None if show_progress else True  # None: hidden outside of a terminal.
        with tqdm(total=total, desc=name, unit="B", unit_scale=True, delay=2, leave=False, disable=hidden) as bar:
            for chunk in response.iter_content(1 << 16):
                if limit is not None and file.tell() + len(chunk) > limit:
                    raise TooLarge
                file.write(chunk)
                bar.update(len(chunk))
