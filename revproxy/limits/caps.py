"""How many requests are under way: in all, of one route, of one address.

Rules of this module:

* whoever was let in is given back exactly once, with the key it was let in by;
* there is an entry for an address only while something of it is under way: the table is bounded by the
  connections there are.
"""

from __future__ import annotations

#: What is full.
ALL, ADDRESS = "all", "address"


class Cap:
    """A cap on all, and one on each address; ``None`` is no cap.

    :ivar under_way: how many there are.
    """

    __slots__ = ("_by_address", "_each", "_most", "under_way")

    def __init__(self, most: int | None, each: int | None) -> None:
        self._most = most
        self._each = each
        self._by_address: dict[str, int] = {}
        self.under_way = 0

    @property
    def addresses(self) -> int:
        """Addresses that have something under way; 0 where they are not counted."""
        return len(self._by_address)

    def of(self, address: str) -> int:
        """How many of an address are under way; 0 where they are not counted."""
        return self._by_address.get(address, 0)

    def take(self, address: str) -> str:
        """One more of this address is under way; or a word, :data:`ALL` or :data:`ADDRESS`, for what is full."""
        most = self._most
        if most is not None and self.under_way >= most:
            return ALL
        each = self._each
        if each is not None:
            count = self._by_address.get(address, 0)
            if count >= each:
                return ADDRESS
            self._by_address[address] = count + 1
        self.under_way += 1
        return ""

    def give_back(self, address: str) -> None:
        """One of those that were taken under this address is over."""
        self.under_way -= 1
        if self._each is not None:
            left = self._by_address[address] - 1
            if left:
                self._by_address[address] = left
            else:
                del self._by_address[address]
