"""Settings that no environment changes: how Django, REST framework and Celery are used here."""

from __future__ import annotations

from pathlib import Path

from celery.schedules import crontab

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = False

# ---------------------------------------------------------------------------------------------------------------
# Applications
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_yasg",
    "channels",
    "operator_api",
    "ledger",
    "restoration",
    "admission",
    "transactor",
    "swapper",
    "leveller",
    "tos",
    "contractor",
    "auditor",
    "analytics",
    "synchronizer",
    "heartbeat",
]
MIDDLEWARE = [
    "operator_api.middleware_observing.observe",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "operator_api.middleware_security.security_headers",
    "django.middleware.common.CommonMiddleware",
    "restoration.middleware.hold",
    "operator_api.middleware_admin.admin_only",
]
ROOT_URLCONF = "operator_api.urls"
WSGI_APPLICATION = "operator_api.wsgi.application"
ASGI_APPLICATION = "operator_api.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    },
]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576  # bytes of a request's body

# ---------------------------------------------------------------------------------------------------------------
# Pages of other hosts
CORS_ALLOW_CREDENTIALS = True
CORS_PREFLIGHT_MAX_AGE = 86_400  # seconds
CORS_EXPOSE_HEADERS = [
    "Stream-Position",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Retry-After",
    "X-Request-ID",
]

# ---------------------------------------------------------------------------------------------------------------
# The admin
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 8 * 3600  # seconds
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "CommonPasswordValidator", "NumericPasswordValidator")
] + [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    }
]
# The admin has its middleware, but not in the list that every request passes (middleware_admin.py).
SILENCED_SYSTEM_CHECKS = ["admin.E408", "admin.E409", "admin.E410"]

# ---------------------------------------------------------------------------------------------------------------
# Celery
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "verifier"
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Else a worker with a task under way takes less from RabbitMQ when it is back, and asks for more again in a task's
# thread: the main thread may get the answer instead, and the other waits for it for ever.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
_HEARTBEAT = 1.0  # seconds
CELERY_BEAT_SCHEDULE = {
    f"heartbeat_{name}": {
        "task": f"heartbeat.tasks.heartbeat_{name}",
        "schedule": _HEARTBEAT,
        "options": {"queue": queue, "expires": 5 * _HEARTBEAT},
    }
    for name, queue in {
        "chain": "chain",
        "verifier": "verifier",
        "orders": "verifier",
        "accounting": "accounting",
        "matching": "accounting",
        "audit": "audit",
    }.items()
} | {
    "heartbeat_watch": {
        "task": "heartbeat.tasks.heartbeat_watch",
        "schedule": 5 * _HEARTBEAT,
        "options": {"queue": "audit", "expires": 25 * _HEARTBEAT},
    },
    "watch_database": {
        "task": "heartbeat.tasks.watch_database",
        "schedule": 10 * _HEARTBEAT,
        "options": {"queue": "audit", "expires": 30 * _HEARTBEAT},
    },
    "update_terms_of_service": {
        "task": "heartbeat.tasks.update_terms_of_service",
        "schedule": crontab(hour=3, minute=0),
        "options": {"queue": "audit"},
    },
}

# ---------------------------------------------------------------------------------------------------------------
# REST
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_RENDERER_CLASSES": ["operator_api.rest.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "operator_api.rest.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "EXCEPTION_HANDLER": "operator_api.rest.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SWAGGER_USE_COMPAT_RENDERERS = False
SWAGGER_SETTINGS = {"USE_SESSION_AUTH": False, "SECURITY_DEFINITIONS": None}
