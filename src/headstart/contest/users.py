"""Users of the contest's server, their tokens and sessions."""

import re
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from headstart.contest import auth
from headstart.contest import schema as t
from headstart.contest.database import Database
from headstart.errors import UsageError

ROLES = ("contestant", "organiser", "worker")
DAY = 86_400.0
"""seconds"""

_NAME = re.compile(r"[^\W_]([\w .'&+-]*[\w.+])?")


class User(NamedTuple):
    """Somebody with a token."""

    id: int
    name: str
    role: str
    reference: bool

    @property
    def organises(self) -> bool:
        """Whether they may see and change everything."""
        return self.role == "organiser"


class Users:
    """Who may do what."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, name: str, role: str = "contestant", reference: bool = False) -> User:
        """A new user.

        Raises:
          UsageError: if the name is taken or no name, or there is no such role.
        """
        if not _NAME.fullmatch(name) or len(name) > 40:
            raise UsageError(
                f"{name[:50]!r} is no user's name: at most 40 letters, digits, blanks and .'&+-."
            )
        if role not in ROLES:
            raise UsageError(f"a user is {', '.join(ROLES[:-1])} or {ROLES[-1]}, not {role!r}.")
        row = {"name": name, "role": role, "reference": reference, "created": self.database.clock()}
        try:
            with self.database.write() as c:
                key = c.execute(insert(t.users).values(row)).inserted_primary_key
        except IntegrityError:
            raise UsageError(f"there is a user called {name} already.") from None
        return User(int(key[0]) if key else 0, name, role, reference)

    def named(self, name: str) -> User:
        """A user by name.

        Raises:
          UsageError: if there is none.
        """
        with self.database.read() as c:
            u = t.users.c
            row = c.execute(select(u.id, u.name, u.role, u.reference).where(u.name == name)).first()
        if row is None:
            raise UsageError(f"there is no user called {name[:50]!r}.")
        return User(*row)

    def every(self) -> list[dict[str, Any]]:
        """All users, with how many tokens and submissions they have."""
        tokens, tries = (
            select(sa.func.count()).where(table.c.user == t.users.c.id).scalar_subquery()
            for table in (t.tokens, t.submissions)
        )
        u = t.users.c
        query = select(
            u.name, u.role, u.reference, u.disabled, u.created, tokens.label("tokens"), tries.label("tries")
        )
        with self.database.read() as c:
            return [dict(row) for row in c.execute(query.order_by(u.name)).mappings()]

    def disable(self, name: str, disabled: bool = True) -> None:
        """Shut a user out, or let them in again."""
        user = self.named(name)
        with self.database.write() as c:
            c.execute(update(t.users).where(t.users.c.id == user.id).values(disabled=disabled))
            c.execute(sa.delete(t.sessions).where(t.sessions.c.user == user.id))

    def new_token(self, user: User, days: float | int | None = None) -> str:
        """A token for a user; its text is not kept, so this is the only time it can be seen."""
        token, now = auth.new_token(), self.database.clock()
        expires = None if days is None else now + days * DAY
        row = {"id": token.id, "user": user.id, "digest": token.digest, "created": now, "expires": expires}
        with self.database.write() as c:
            c.execute(insert(t.tokens).values(row))
        return token.text

    def revoke_tokens(self, user: User) -> int:
        """End all tokens and sessions of a user; how many tokens there were."""
        with self.database.write() as c:
            c.execute(sa.delete(t.sessions).where(t.sessions.c.user == user.id))
            return c.execute(sa.delete(t.tokens).where(t.tokens.c.user == user.id)).rowcount

    def by_token(self, text: str) -> User | None:
        """The user whose token this is."""
        parts = auth.split_token(text)
        if parts is None:
            return None
        u = t.users.c
        query = (
            select(t.tokens.c.digest, t.tokens.c.expires, u.id, u.name, u.role, u.reference)
            .join(t.users)
            .where(t.tokens.c.id == parts[0], u.disabled == sa.false())
        )
        with self.database.read() as c:
            row = c.execute(query).first()
        known, expires = (row[0], row[1]) if row else (auth.digest(""), None)
        good = auth.same(known, parts[1]) and (expires is None or self.database.clock() < expires)
        return User(*row[2:]) if row and good else None

    def open_session(self, user: User, token: str, seconds: float = 14 * DAY) -> str:
        """A session's secret for a cookie; it ends after `seconds`, or before that with the token it was opened by."""
        secret, now = auth.name(43), self.database.clock()
        parts = auth.split_token(token) or ("", "")
        with self.database.write() as c:
            c.execute(sa.delete(t.sessions).where(t.sessions.c.expires < now))
            end = c.scalar(select(t.tokens.c.expires).where(t.tokens.c.id == parts[0]))
            expires = now + seconds if end is None else min(now + seconds, end)
            row = {"digest": auth.digest(secret), "user": user.id, "expires": expires}
            c.execute(insert(t.sessions).values(row))
        return secret

    def by_session(self, secret: str) -> User | None:
        """The user of a session."""
        u, s = t.users.c, t.sessions.c
        query = select(u.id, u.name, u.role, u.reference).join(t.sessions)
        mine = (s.digest == auth.digest(secret), s.expires > self.database.clock(), u.disabled == sa.false())
        with self.database.read() as c:
            row = c.execute(query.where(*mine)).first()
        return None if row is None else User(*row)

    def close_session(self, secret: str) -> None:
        """End a session."""
        with self.database.write() as c:
            c.execute(sa.delete(t.sessions).where(t.sessions.c.digest == auth.digest(secret)))


__all__ = ["DAY", "ROLES", "User", "Users"]
