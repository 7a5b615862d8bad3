import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="OperatorAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("time", models.DateTimeField(default=django.utils.timezone.now)),
                ("who", models.CharField(help_text="the account in the admin, or the command", max_length=150)),
                ("action", models.CharField(max_length=50)),
                ("subject", models.CharField(blank=True, help_text="what it was done to", max_length=200)),
                ("reason", models.TextField(blank=True)),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.RunSQL(
            """
            CREATE FUNCTION operator_action_stays() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'what the operator did is not changed afterwards';
            END $$;
            CREATE TRIGGER operator_action_stays BEFORE UPDATE OR DELETE ON operator_api_operatoraction
                FOR EACH ROW EXECUTE FUNCTION operator_action_stays();
            """,
            """
            DROP TRIGGER operator_action_stays ON operator_api_operatoraction;
            DROP FUNCTION operator_action_stays();
            """,
        ),
    ]
