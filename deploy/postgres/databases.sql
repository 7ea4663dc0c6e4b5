-- Run once, when the volume is new. The registry's own database is made by POSTGRES_DB.
CREATE DATABASE mlflow;
