# The page, `har serve`, on a CPU and without root. compose.yaml runs it with a project's models.
FROM python:3.12-slim
WORKDIR /app
COPY requirements-dev.txt pyproject.toml README.md LICENSE ./
# The versions of the lock, and no package but those that the extra `app` asks for.
RUN sed -nE 's/^([A-Za-z0-9._-]+==[^\\]*).*/\1/p' requirements-dev.txt > versions.txt
COPY har ./har
RUN pip install --no-cache-dir --constraint versions.txt ".[app]" \
    && useradd --create-home --uid 1000 har
# Read when `har serve` starts: the models, their figures, and the clips to try, if any.
WORKDIR /home/har/project
USER 1000
EXPOSE 7860
HEALTHCHECK --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health')"]
ENTRYPOINT ["har"]
CMD ["serve", "--host", "0.0.0.0"]
