"""CourseService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import course_service_pb2 as pb
from azora.education.v1 import course_service_pb2_grpc

from services.education.courses import content, convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.education.courses.authoring import AuthoringOperations
    from services.education.courses.lessons import LessonOperations
    from services.education.courses.operations import Catalogue, CourseOperations


class CourseServicer(course_service_pb2_grpc.CourseServiceServicer):
    """The course catalogue."""

    def __init__(
        self,
        operations: CourseOperations,
        catalogue: Catalogue,
        authoring: AuthoringOperations,
        lessons: LessonOperations,
    ) -> None:
        self._operations = operations
        self._catalogue = catalogue
        self._authoring = authoring
        self._lessons = lessons

    async def ListCourses(self, request: pb.ListCoursesRequest, context: Context) -> pb.ListCoursesResponse:
        return await self._catalogue.list_courses(
            principal=current_principal(),
            page_size=request.page_size,
            page_token=request.page_token,
            wanted=convert.course_filter(request),
            order=convert.course_order(request),
            mine=request.mine,
            encode=convert.list_courses_response,
        )

    async def SearchCourses(self, request: pb.SearchCoursesRequest, context: Context) -> pb.SearchCoursesResponse:
        return await self._catalogue.search_courses(
            principal=current_principal(),
            page_size=request.page_size,
            page_token=request.page_token,
            query=request.query,
            wanted=convert.course_filter(request),
            encode=convert.search_courses_response,
        )

    async def GetCourse(self, request: pb.GetCourseRequest, context: Context) -> pb.GetCourseResponse:
        return await self._operations.get_course(
            principal=current_principal(),
            course_id=request.course_id,
            revision=request.revision,
            draft=convert.is_draft(request),
            encode=convert.get_course_response,
        )

    async def CreateCourse(self, request: pb.CreateCourseRequest, context: Context) -> pb.CreateCourseResponse:
        course = await self._authoring.create_course(principal=current_principal(), new=convert.new_course(request))
        return convert.create_course_response(course)

    async def UpdateCourse(self, request: pb.UpdateCourseRequest, context: Context) -> pb.UpdateCourseResponse:
        course = await self._authoring.update_course(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.course.etag,
            changes=convert.course_changes(request),
        )
        return convert.update_course_response(course)

    async def PublishCourse(self, request: pb.PublishCourseRequest, context: Context) -> pb.PublishCourseResponse:
        course = await self._authoring.publish_course(
            principal=current_principal(), course_id=request.course_id, etag=request.etag
        )
        return convert.publish_course_response(course)

    async def ArchiveCourse(self, request: pb.ArchiveCourseRequest, context: Context) -> pb.ArchiveCourseResponse:
        course = await self._authoring.archive_course(
            principal=current_principal(), course_id=request.course_id, etag=request.etag
        )
        return convert.archive_course_response(course)

    async def UnarchiveCourse(self, request: pb.UnarchiveCourseRequest, context: Context) -> pb.UnarchiveCourseResponse:
        course = await self._authoring.unarchive_course(
            principal=current_principal(), course_id=request.course_id, etag=request.etag
        )
        return convert.unarchive_course_response(course)

    async def DeleteCourse(self, request: pb.DeleteCourseRequest, context: Context) -> pb.DeleteCourseResponse:
        await self._authoring.delete_course(
            principal=current_principal(), course_id=request.course_id, etag=request.etag
        )
        return pb.DeleteCourseResponse()

    async def ListCourseRevisions(
        self, request: pb.ListCourseRevisionsRequest, context: Context
    ) -> pb.ListCourseRevisionsResponse:
        page = await self._authoring.list_course_revisions(
            principal=current_principal(),
            course_id=request.course_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_course_revisions_response(page)

    async def RollbackCourse(self, request: pb.RollbackCourseRequest, context: Context) -> pb.RollbackCourseResponse:
        course = await self._authoring.rollback_course(
            principal=current_principal(), course_id=request.course_id, revision=request.revision, etag=request.etag
        )
        return convert.rollback_course_response(course)

    async def ExportCourse(self, request: pb.ExportCourseRequest, context: Context) -> pb.ExportCourseResponse:
        course = await self._authoring.export_course(
            principal=current_principal(), course_id=request.course_id, revision=request.revision
        )
        return convert.export_course_response(course)

    async def ImportCourse(self, request: pb.ImportCourseRequest, context: Context) -> pb.ImportCourseResponse:
        course = await self._authoring.import_course(
            principal=current_principal(), new=convert.imported_course(request.document)
        )
        return convert.import_course_response(course)

    async def CreateModule(self, request: pb.CreateModuleRequest, context: Context) -> pb.CreateModuleResponse:
        module = content.new_module(request.module)
        draft = await self._lessons.create_module(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.etag,
            module=module,
            position=request.position if request.HasField("position") else None,
        )
        return convert.create_module_response(draft, module.id)

    async def UpdateModule(self, request: pb.UpdateModuleRequest, context: Context) -> pb.UpdateModuleResponse:
        draft = await self._lessons.update_module(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.module.etag,
            module_id=request.module_id,
            changes=content.module_changes(request),
        )
        return convert.update_module_response(draft, request.module_id)

    async def DeleteModule(self, request: pb.DeleteModuleRequest, context: Context) -> pb.DeleteModuleResponse:
        draft = await self._lessons.delete_module(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.etag,
            module_id=request.module_id,
        )
        return convert.delete_module_response(draft)

    async def MoveModule(self, request: pb.MoveModuleRequest, context: Context) -> pb.MoveModuleResponse:
        draft = await self._lessons.move_module(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.etag,
            module_id=request.module_id,
            position=request.position,
        )
        return convert.move_module_response(draft)

    async def CreateLesson(self, request: pb.CreateLessonRequest, context: Context) -> pb.CreateLessonResponse:
        lesson = content.new_lesson(request.lesson)
        draft = await self._lessons.create_lesson(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.etag,
            module_id=request.module_id,
            lesson=lesson,
            position=request.position if request.HasField("position") else None,
        )
        return convert.create_lesson_response(draft, lesson.id)

    async def UpdateLesson(self, request: pb.UpdateLessonRequest, context: Context) -> pb.UpdateLessonResponse:
        draft = await self._lessons.update_lesson(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.lesson.etag,
            module_id=request.module_id,
            lesson_id=request.lesson_id,
            changes=content.lesson_changes(request),
        )
        return convert.update_lesson_response(draft, request.lesson_id)

    async def DeleteLesson(self, request: pb.DeleteLessonRequest, context: Context) -> pb.DeleteLessonResponse:
        draft = await self._lessons.delete_lesson(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.etag,
            module_id=request.module_id,
            lesson_id=request.lesson_id,
        )
        return convert.delete_lesson_response(draft)

    async def MoveLesson(self, request: pb.MoveLessonRequest, context: Context) -> pb.MoveLessonResponse:
        draft = await self._lessons.move_lesson(
            principal=current_principal(),
            course_id=request.course_id,
            etag=request.etag,
            module_id=request.module_id,
            lesson_id=request.lesson_id,
            target_module_id=request.target_module_id,
            position=request.position,
        )
        return convert.move_lesson_response(draft)
