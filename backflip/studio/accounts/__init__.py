"""Who may come in and what they may see: people, sessions, tokens, invitations, memberships, and the audit log."""

__all__: list[str] = []
