"""Every setting, read once from the environment (BAEKMAN_*) or a .env file; closed and safe by default."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Room = Literal["inbox", "vault", "outbox", "memory"]
ROOMS: tuple[Room, ...] = get_args(Room)
AnyStore = Room | Literal["backup"]


class Settings(BaseSettings):
    """Settings of one process. `docs/settings.md` is generated from these fields."""

    model_config = SettingsConfigDict(env_prefix="BAEKMAN_", env_file=".env", extra="ignore")

    var: Path = Field(
        Path("var"),
        description="Folder of the embedded default: database, inbox, vault, outbox, memory, spill.",
    )
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; unset: SQLite under `var`.")
    public_url: str = Field(
        "http://127.0.0.1:8000", description="Base of every URL we hand out; also the OAuth issuer."
    )
    production: bool = Field(
        default=False,
        description="Refuse to start where something speaks against these settings for real people's data, and list "
        "all of it.",
    )
    production_accepts: str = Field(
        "",
        description="Objections that you have weighed and accept, each as `code:setting` with commas between, such as "
        "`plain_http:BAEKMAN_S3_ENDPOINT` for a store on the same machine.",
    )
    jobs: Literal["embedded", "separate"] = Field(
        "embedded",
        description="Whether `baekman serve` also works off the jobs, or leaves them to `baekman worker` processes.",
    )
    master_key: SecretStr | None = Field(
        None,
        description="Base64 of 32 bytes that wrap project and cohort keys; unset, and no file or command: made once "
        "under `var`.",
    )
    master_key_file: Path | None = Field(default=None, description="File with the master key, in base64.")
    master_key_command: str | None = Field(
        None,
        description="Program in front of a KMS that wraps and unwraps keys; it is called with `id`, `wrap` or "
        "`unwrap`.",
    )
    older_master_keys: SecretStr | None = Field(
        None,
        description="Master keys that still open what they wrapped, in base64 with commas between, until `baekman "
        "rewrap` has run.",
    )
    older_master_keys_file: Path | None = Field(
        default=None, description="The same from a file, a key a line."
    )
    web_key: SecretStr | None = Field(
        None,
        description="Base64 of 32 bytes that wrap what the web itself needs: the keys that sign tokens, and those that "
        "find a person by the institution's identifier. With `BAEKMAN_JOBS=separate` the web then needs no master key. "
        "More with commas between open what they wrapped earlier. Unset: the master key wraps these too.",
    )
    web_key_file: Path | None = Field(default=None, description="The same from a file, a key a line.")
    inbox_url: str | None = Field(
        None,
        description="Store of what arrives: `file:///folder` or `s3://bucket/prefix`; unset: under `var`.",
    )
    vault_url: str | None = Field(None, description="Store of checked tables; unset: under `var`.")
    outbox_url: str | None = Field(None, description="Store of released parts; unset: under `var`.")
    memory_url: str | None = Field(
        None, description="Store of what a build leaves for the next one, sealed; unset: under `var`."
    )
    inbox_key_id: str | None = Field(None, description="Access key id of the inbox's S3 store.")
    inbox_secret: SecretStr | None = Field(None, description="Secret access key of the inbox's S3 store.")
    vault_key_id: str | None = Field(None, description="Access key id of the vault's S3 store.")
    vault_secret: SecretStr | None = Field(None, description="Secret access key of the vault's S3 store.")
    outbox_key_id: str | None = Field(None, description="Access key id of the outbox's S3 store.")
    outbox_secret: SecretStr | None = Field(None, description="Secret access key of the outbox's S3 store.")
    memory_key_id: str | None = Field(None, description="Access key id of the memory's S3 store.")
    memory_secret: SecretStr | None = Field(None, description="Secret access key of the memory's S3 store.")
    backup_url: str | None = Field(
        None,
        description="Where `baekman backup` writes and `baekman restore` reads: a store, as for the rooms.",
    )
    backup_key_id: str | None = Field(None, description="Access key id of the backups' S3 store.")
    backup_secret: SecretStr | None = Field(None, description="Secret access key of the backups' S3 store.")
    backup_endpoint: str | None = Field(
        None, description="URL of the backups' S3 server; unset: `s3_endpoint`. Better another one."
    )
    backup_keep: int = Field(
        default=14,
        ge=0,
        description="How many backups stay in their place; older ones, and what only they hold, are removed by the "
        "next. People who were destroyed are in those that were made before. 0: all stay.",
    )
    backup_hours: int = Field(
        default=26,
        ge=0,
        description="Age of the newest backup in hours beyond which the doctor warns; 0: it does not ask.",
    )
    s3_endpoint: str | None = Field(None, description="URL of an S3 server other than Amazon's.")
    s3_region: str | None = Field(None, description="Region of the S3 stores.")
    s3_encryption: Literal["none", "AES256", "aws:kms"] = Field(
        "none", description="Encryption that the S3 server is asked for with every object that is written."
    )
    s3_kms_key: str | None = Field(
        None, description="Key of the server's KMS where it encrypts by `aws:kms`."
    )
    engine: Literal["duckdb", "spark", "by_size"] = Field(
        "duckdb",
        description="The engine that builds extracts: `duckdb`, `spark`, or `by_size` (Spark from `spark_from` on).",
    )
    engine_memory: str = Field("1500MB", description="Memory limit of one engine.")
    engine_threads: int = Field(default=2, ge=1, description="Threads of one engine.")
    spark: str = Field(
        "",
        description="Where Spark runs: a master such as `spark://host:7077`, or a Spark Connect URL `sc://host`; "
        "unset: on this machine, with `engine_threads`.",
    )
    spark_memory: str = Field(
        "1g",
        pattern=r"^[1-9]\d*[mg]$",
        description="Heap of a Spark on this machine, beside `engine_memory`.",
    )
    spark_from: int = Field(
        default=2**35,
        ge=1,
        description="With the engine `by_size`, builds that read so many bytes of the vault or more go to Spark.",
    )
    rows_per_part: int = Field(
        default=500_000, ge=1, description="Rows of a part before a table is cut further."
    )
    access_token_seconds: int = Field(default=3600, ge=60, description="Life of an access token.")
    link_seconds: int = Field(
        default=3600,
        ge=60,
        description="Longest life of a signed link to a part; never beyond its token, permit or extract.",
    )
    proxy_mark: SecretStr | None = Field(
        None,
        description="Word that the proxy puts into `X-Baekman-Proxy`, and nobody else knows. Where it is set and the "
        "outbox is a folder that the proxy shares, ranges of at most a MiB are asked of the gate and sent by nginx "
        "(`X-Accel-Redirect`); unset: every byte goes through the web.",
    )
    upload_max_bytes: int = Field(20 * 2**30, ge=1, description="Largest single upload.")
    upload_put_max_bytes: int = Field(
        default=256 * 2**20,
        ge=1,
        description="Largest file that one plain PUT takes; larger ones come by tus.",
    )
    upload_expiry_days: int = Field(
        default=14, ge=0, description="When originals of unfinished or quarantined uploads are removed."
    )
    expansion_max_ratio: int = Field(
        default=200, ge=2, description="A file that grows more than this when read is a bomb."
    )
    quarantine_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of rows without a known person or consent row above which an upload is quarantined.",
    )
    min_cell: int = Field(
        default=11, ge=2, description="Smallest count shown; default of the CMS preset (1-10 hidden)."
    )
    round_to: int = Field(
        default=5, ge=1, description="Counts shown to researchers and the public are rounded to this."
    )
    count_wait_seconds: float = Field(
        5.0,
        ge=0,
        description="With `BAEKMAN_JOBS=separate`: how many seconds a request waits for a worker to answer a count "
        "before it is told where to fetch it.",
    )
    count_budget_per_day: int = Field(
        default=200, ge=1, description="Masked counts one asker may have in a day."
    )
    count_budget_institution_per_day: int = Field(
        default=600,
        ge=1,
        description="Masked counts all askers of one institution may have together in a day.",
    )
    extract_days: int = Field(
        default=90, ge=1, description="How long an extract can be downloaded, within its permit."
    )
    adult_age: int = Field(
        default=19,
        ge=14,
        le=25,
        description="Age in years from which a person's own consent is due (Civil Act, article 4: 19; "
        "the Bioethics and Safety Act, article 16, speaks of 18).",
    )
    assent_age: int = Field(
        default=7, ge=0, le=18, description="Age in years from which a child is asked for assent."
    )
    deceased: Literal["withheld", "without_family", "as_consented"] = Field(
        "without_family",
        description="Whether people who have died are in new extracts: never; only where no family code, handle or "
        "table of relatives is released; or as they consented (guidelines under the Bioethics and Safety Act).",
    )
    recall_days: int = Field(
        default=30, ge=1, description="How many days a holder has to say what became of recalled rows."
    )
    recall_grace_days: int = Field(
        default=30,
        ge=1,
        description="How many days after that a permit whose holder says nothing is suspended.",
    )
    catalog_public: bool = Field(
        default=False,
        description="Whether anybody may search the variables of published datasets at `/variables`, without a token.",
    )
    quota_inbox_bytes: int = Field(
        default=0,
        ge=0,
        description="Bytes that an institution's kept uploads may have together; 0: no limit.",
    )
    quota_vault_bytes: int = Field(
        default=0,
        ge=0,
        description="Bytes of checked tables beyond which an institution may send no more; 0: no limit.",
    )
    quota_live_extracts: int = Field(
        default=0, ge=0, description="Extracts that one holder may have on the way or to fetch; 0: no limit."
    )
    incident_contain_hours: int = Field(
        default=1,
        ge=0,
        description="Hours from when an incident is known until it must be contained (Personal Information Protection "
        "Act, article 28-5: at once); 0: no clock.",
    )
    incident_assess_hours: int = Field(
        default=24,
        ge=0,
        description="Hours until it must be assessed whom an incident concerns; 0: no clock.",
    )
    incident_people_hours: int = Field(
        default=72,
        ge=0,
        description="Hours until the people must be told of an incident (Personal Information Protection Act, article "
        "34, and its decree: 72); 0: no clock.",
    )
    incident_authority_hours: int = Field(
        default=72,
        ge=0,
        description="Hours until the authority must be told of an incident (the same: 72); 0: no clock.",
    )
    clock_may_go_back: bool = Field(
        default=False,
        description="Begin at the time of the machine although the audit chains hold later lines: once, after a clock "
        "that ran ahead was set right. Else time goes on from the last line, so that nothing that ended begins again.",
    )
    goal: int = Field(
        1_000_000, ge=1, description="The number of consenting people the platform works towards."
    )
    goal_date: date = Field(date(2032, 12, 31), description="The day by which the goal is to be reached.")
    feed_grace_days: int = Field(
        default=1, ge=0, description="Days after which a promised feed that has not come raises an alarm."
    )
    monitor_closes_extracts: bool = Field(
        default=True,
        description="Whether an extract in which the daily monitor finds a person who left is closed until a steward "
        "has closed the alarm.",
    )
    silent_feed_stops_after_days: int = Field(
        default=0,
        ge=0,
        description="Days by which a cohort's withdrawal feed may be overdue before nothing new of it is released; 0: "
        "releases go on.",
    )
    chores_seconds: float = Field(default=3600, gt=0, description="How often expired things are swept.")
    jobs_at_once: int = Field(
        default=2,
        ge=1,
        description="How many jobs one worker runs at a time, beside one that closes what somebody left.",
    )
    jobs_per_project: int = Field(
        default=1,
        ge=1,
        description="How many jobs of one project run at a time over all workers; what carries a withdrawal waits for "
        "no other.",
    )
    jobs_most_tries: int = Field(
        default=10,
        ge=1,
        description="How often a job that is tried again by itself may fail before it is parked for the operator.",
    )
    jobs_most_deaths: int = Field(
        default=5,
        ge=2,
        description="How many workers may end while a job runs before it is parked for the operator.",
    )
    jobs_poll_seconds: float = Field(
        default=0.05,
        gt=0,
        description="How far apart two looks for new job rows are at least; idle, there is one a second.",
    )

    journal: Path | None = Field(
        default=None,
        description="File that every withdrawal is also written to, from which a restored database learns of those it "
        "has forgotten. Put it on another disk; unset: `withdrawals.journal` under `var`.",
    )

    @property
    def journal_path(self) -> Path:
        """The journal of withdrawals in force."""
        return self.journal or self.var.resolve() / "withdrawals.journal"

    def store_url(self, room: AnyStore) -> str:
        """The URL of the store of a room; a folder under `var` where none is set."""
        return self._of(room, "url") or (self.var.resolve() / room).as_uri()

    def store_key(self, room: AnyStore) -> tuple[str | None, str | None]:
        """Key id and secret of the store of a room; None where the machine itself is given them."""
        secret: SecretStr | None = self._of(room, "secret")
        return self._of(room, "key_id"), None if secret is None else secret.get_secret_value()

    def _of(self, room: AnyStore, what: str) -> Any:
        return getattr(self, f"{room}_{what}")

    @property
    def has_master(self) -> bool:
        """Whether a master key was given, rather than made under `var`."""
        return (self.master_key, self.master_key_file, self.master_key_command) != (None, None, None)

    @property
    def has_web_key(self) -> bool:
        """Whether the web has a key of its own."""
        return (self.web_key, self.web_key_file) != (None, None)

    @property
    def is_bare_web(self) -> bool:
        """Whether these settings are those of a web that holds nothing but its own key."""
        return self.jobs == "separate" and self.has_web_key and not self.has_master

    @property
    def quotas(self) -> dict[str, int]:
        """What holds where nothing else is said of an institution or a holder, by name."""
        return {
            "inbox_bytes": self.quota_inbox_bytes,
            "vault_bytes": self.quota_vault_bytes,
            "live_extracts": self.quota_live_extracts,
        }

    @property
    def incident_hours(self) -> dict[str, int]:
        """The clocks of an incident in hours, by name."""
        return {
            "contain": self.incident_contain_hours,
            "assess": self.incident_assess_hours,
            "people": self.incident_people_hours,
            "authority": self.incident_authority_hours,
        }

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.var.resolve() / 'baekman.db'}"
