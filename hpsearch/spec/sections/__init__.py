"""The sections of a study file that are tables of keys: pydantic models of what each means and may be."""
