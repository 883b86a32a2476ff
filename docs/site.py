"""Takes files outside of docs/ into the site, and turns the links to them (a hook of MkDocs)."""

from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "benchmarks/RESULTS.md", "params.yaml", "notebooks/tutorial.ipynb")


def on_files(files, config):
    """Add the README as the start page, and the files that pages link."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown, page, **_):
    """Turn links between docs/, which becomes the root, and what lies beside it."""
    from_docs = page.file.src_uri not in ("index.md", *PAGES)
    return markdown.replace("](../", "](") if from_docs else markdown.replace("docs/", "")
