def judge() -> None:
    """x"""
