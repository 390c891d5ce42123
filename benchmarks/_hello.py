"""The baseline of the API's figures: FastAPI that says hello, by a plain `def` endpoint as ours are."""

from fastapi import FastAPI

app = FastAPI(docs_url=None, redoc_url=None)


@app.get("/")
def hello() -> dict[str, str]:
    """Hello."""
    return {"hello": "world"}
