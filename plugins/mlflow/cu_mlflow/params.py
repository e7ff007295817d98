"""Parameters of the evidence sink ``mlflow`` in ``workspace.yaml``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SQLITE = "sqlite:///"
_DATABASES = ("postgresql", "mysql", "mssql")


class MlflowParams(BaseModel):
    """Where the tracker is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracking_uri: str = Field(
        default="sqlite:///mlflow.db",
        description="address of an MLflow server, or a database; a relative SQLite file lies in the workspace",
    )
    experiment: str = Field(default="compliance-unlearn", min_length=1)

    @field_validator("tracking_uri")
    @classmethod
    def _known_and_inside(cls, uri: str) -> str:
        if uri.startswith(_SQLITE) and len(uri) > len(_SQLITE):
            path = PurePosixPath(uri.removeprefix(_SQLITE))
            if not path.is_absolute() and ".." in path.parts:
                raise ValueError("a relative SQLite file must stay inside the workspace; write sqlite:///mlflow.db")
            return uri
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https") and parts.hostname:
            return uri.rstrip("/")
        if parts.scheme.partition("+")[0] in _DATABASES:
            return uri
        raise ValueError("write http://host:port of an MLflow server, or sqlite:///mlflow.db for a file")

    @property
    def is_server(self) -> bool:
        """Whether a server answers there, which then decides where artifacts are kept."""
        return self.tracking_uri.startswith("http")

    @property
    def shown_uri(self) -> str:
        """The address without user name and password."""
        parts = urlsplit(self.tracking_uri)
        if parts.scheme == "sqlite":
            return self.tracking_uri
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=host, query="", fragment="").geturl()

    def uri_in(self, root: Path) -> str:
        """The address with a relative SQLite file placed in the workspace."""
        if not self.tracking_uri.startswith(_SQLITE):
            return self.tracking_uri
        return f"{_SQLITE}{root.resolve() / self.tracking_uri.removeprefix(_SQLITE)}"
