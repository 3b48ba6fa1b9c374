"""What leaves first when a store is full: S3-FIFO, three queues and no moves on a hit.

Rules of this module:

* what is new stands in the small queue, a tenth of the bytes. Who was hit there more than once moves to
  the main queue when its turn comes, the others leave: a scan passes through the small queue alone;
* the main queue gives who was hit another round for each hit, three at most;
* of those that left the small queue a fingerprint stays, as many as there are nodes: who comes back
  while it is there goes to the main queue at once. Fingerprints are salted hashes, so that nobody can
  choose theirs;
* a hit is one addition to ``frequency``, by the caller, capped at :data:`MOST`;
* one eviction looks at no more than :data:`LOOKS` nodes: where everything was hit, going round until
  something was not would take a pass over all.

J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

#: A node is given no more rounds than this.
MOST = 3
#: Hits in the small queue above which a node moves on.
ENOUGH = 1
#: The small queue's share of all bytes.
SMALL = 0.1
#: Nodes that one eviction gives another round at most.
LOOKS = 64
#: Fingerprints that are kept whatever the number of nodes, and those dropped at a time when there are more.
_GHOSTS = 64
_DROPS = 4


class Node:
    """What stands in a queue.

    :ivar queue: the one that it stands in, ``None`` for none. :ivar before, after: its neighbours there.
    :ivar size: bytes; not to be changed while it stands in a queue but by :meth:`S3Fifo.resize`.
    :ivar frequency: hits since it was last considered.
    """

    __slots__ = ("after", "before", "frequency", "queue", "size")

    before: Any
    after: Any
    queue: Queue | None
    size: int
    frequency: int

    def fingerprint(self) -> int:
        """A hash of what it is known by when it comes back."""
        raise NotImplementedError


class Queue:
    """A ring of nodes, closed by itself: ``after`` is the oldest one, ``before`` the newest.

    Links in the nodes, since any may leave at any time: a deque would keep the gaps.
    """

    __slots__ = ("after", "before", "bytes", "count")

    def __init__(self) -> None:
        self.before: Any = self
        self.after: Any = self
        self.bytes = 0
        self.count = 0

    def push(self, node: Node) -> None:
        """Put a node that is nowhere behind the newest one."""
        newest = self.before
        node.before = newest
        node.after = self
        node.queue = self
        newest.after = self.before = node
        self.bytes += node.size
        self.count += 1


N = TypeVar("N", bound=Node)


class _Cursor:
    __slots__ = ("at",)

    def __init__(self, at: Any) -> None:
        self.at = at


class S3Fifo(Generic[N]):
    """The order in which nodes leave. :param budget: bytes of all that may stand in it."""

    __slots__ = ("_cursors", "_order", "ghosts", "main", "share", "small")

    def __init__(self, budget: int) -> None:
        self.small = Queue()
        self.main = Queue()
        self.share = int(budget * SMALL)
        self.ghosts: set[int] = set()
        # in the order of their leaving; one that was used stays here until its turn comes
        self._order: deque[int] = deque()
        self._cursors: list[_Cursor] = []

    def __len__(self) -> int:
        return self.small.count + self.main.count

    @property
    def remembered(self) -> int:
        """Fingerprints that take up room."""
        return len(self._order)

    def set_budget(self, budget: int) -> None:
        """From now on the small queue has its share of this many bytes."""
        self.share = int(budget * SMALL)

    def add(self, node: N, old: N | None = None) -> None:
        """Put in a node that is nowhere. :param old: the one that it replaces; it takes over its hits."""
        if old is not None and old.queue is not None:
            queue = old.queue
            node.frequency = old.frequency
            self.remove(old)
            queue.push(node)
            return
        node.frequency = 0
        if self.ghosts:
            mark = node.fingerprint()
            if mark in self.ghosts:
                self.ghosts.discard(mark)
                self.main.push(node)
                return
        self.small.push(node)

    def remove(self, node: N) -> None:
        """Take out a node that stands in a queue."""
        self._unlink(node)
        node.before = node.after = node.queue = None

    def resize(self, node: N, size: int) -> None:
        """Change a node's size."""
        if node.queue is not None:
            node.queue.bytes += size - node.size
        node.size = size

    def evict(self) -> N | None:
        """Take out the node that is worth least, ``None`` when there is none."""
        small, main = self.small, self.main
        looks = LOOKS
        while True:
            if small.count and (small.bytes > self.share or not main.count):
                node: N = small.after
                if node.frequency > ENOUGH and looks:
                    looks -= 1
                    self._unlink(node)
                    node.frequency = 0
                    main.push(node)
                    continue
                self.remove(node)
                self._remember(node.fingerprint())
                return node
            if not main.count:
                return None
            node = main.after
            if node.frequency and looks:
                looks -= 1
                self._unlink(node)
                node.frequency -= 1
                main.push(node)
                continue
            self.remove(node)
            return node

    def forget(self) -> bool:
        """Drop the oldest fingerprint; ``False`` when there is none."""
        if not self._order:
            return False
        self.ghosts.discard(self._order.popleft())
        return True

    def walk(self) -> Iterator[N]:
        """Every node that stands in it from now on to the end; any may leave or move meanwhile.

        Those that are put in meanwhile may be among them, and one that moves may be twice.
        """
        cursor = _Cursor(None)
        self._cursors.append(cursor)
        try:
            # who moves goes to the end of the main queue: nobody is passed by
            for queue in (self.small, self.main):
                cursor.at = queue.after
                while cursor.at is not queue:
                    node: Any = cursor.at
                    cursor.at = node.after
                    yield node
        finally:
            self._cursors.remove(cursor)

    def _unlink(self, node: Node) -> None:
        if self._cursors:
            for cursor in self._cursors:
                if cursor.at is node:
                    cursor.at = node.after
        before, after, queue = node.before, node.after, node.queue
        before.after = after
        after.before = before
        assert queue is not None
        queue.bytes -= node.size
        queue.count -= 1

    def _remember(self, mark: int) -> None:
        order, ghosts = self._order, self.ghosts
        if mark not in ghosts:
            ghosts.add(mark)
            order.append(mark)
        most = max(_GHOSTS, self.small.count + self.main.count)
        drops = _DROPS
        while len(order) > most and drops:
            drops -= 1
            ghosts.discard(order.popleft())
