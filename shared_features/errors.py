"""What can be wrong with a definition or with a ref that names one."""

KNOWN_MAX = 12
"""Names that an error offers instead of one that there is not."""


class DefinitionError(ValueError):
    """A definition that cannot stand; the message names it, what is wrong, and the fix."""

    def __init__(self, name: str, wrong: str, fix: str) -> None:
        super().__init__(f"{name}: {wrong}. {fix}.")
        self.name = name
        self.wrong = wrong
        self.fix = fix


class UnknownRef(LookupError):
    """A ref, view, source or service that no loaded definition has."""

    def __init__(self, wanted: str, known: list[str]) -> None:
        self.wanted = wanted
        self.known = f"known: {', '.join(sorted(known)[:KNOWN_MAX])}" if known else "none is known"
        super().__init__(f"there is no {wanted}; {self.known}")


class MissingField(LookupError):
    """A request did not bring a field that a request-time feature needs."""

    def __init__(self, field: str, needed_by: str) -> None:
        super().__init__(f"the request field {field!r} is missing; {needed_by} needs it")
        self.field = field
