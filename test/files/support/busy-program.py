"""Four threads do with files what programs do, each in a folder of its own, until a line comes. Ends with an error as soon as anything is not as it must be."""

import os
import sys
import threading
import traceback

THREADS = 4
stopping = threading.Event()
rounds = [0] * THREADS


def once(folder, at):
    path = f"{folder}/file{at % 7}"
    data = os.urandom(1_000 + at * 7_919 % 200_000)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    assert os.write(fd, data) == len(data)
    if at % 3 == 0:
        os.fsync(fd)
    os.close(fd)
    os.rename(path, f"{path}.renamed")
    with open(f"{path}.renamed", "rb") as file:
        assert file.read() == data, "What was written is not what is read."
    new = f"{folder}/new{at}"
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.link(new, f"{new}.link")
    os.unlink(new)
    os.unlink(f"{new}.link")
    os.mkdir(new)
    os.rmdir(new)


def work(thread):
    try:
        os.mkdir(f"thread{thread}")
        while not stopping.is_set():
            once(f"thread{thread}", rounds[thread])
            rounds[thread] += 1
    except BaseException:
        traceback.print_exc()
        os._exit(1)


threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
for thread in threads:
    thread.start()
sys.stdin.readline()
stopping.set()
for thread in threads:
    thread.join()
print(min(rounds))
